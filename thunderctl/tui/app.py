"""The status screen: what `thunderctl status` shows on a terminal, read again every second."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import DataTable, Footer, Static

from planner.errors import ThunderError
from thunderctl.cli.link_tables import Rows, link_rows
from thunderctl.cli.status_tables import headline, instance_rows, latency_rows, replica_rows, route_rows

SECTIONS: tuple[tuple[str, str, Callable[[Mapping[str, Any]], Rows]], ...] = (
    ("instances", "Instances", instance_rows),
    ("replicas", "Replicas", replica_rows),
    ("routes", "Routes", route_rows),
    ("links", "Links", link_rows),
    ("predicted", "Latency", latency_rows),
)


class StatusRead(Message):
    """A status document came."""

    def __init__(self, status: Mapping[str, Any]) -> None:
        super().__init__()
        self.status = status


class StatusFailed(Message):
    """Reading it failed; what is shown is old."""

    def __init__(self, error: ThunderError) -> None:
        super().__init__()
        self.error = error


class StatusApp(App[None]):
    """One deployment: machines, replicas with phase and load, routes, latency and cost."""

    CSS_PATH = "app.tcss"
    TITLE = "thunderctl"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "quit", "Quit"), Binding("r", "refresh_now", "Read again")]

    def __init__(self, read: Callable[[], Awaitable[Mapping[str, Any]]], *, every_s: float = 1.0) -> None:
        super().__init__()
        self._read = read
        self._every_s = every_s

    def compose(self) -> ComposeResult:
        yield Static("Reading the deployment ...", id="headline")
        with VerticalScroll():
            for name, title, _ in SECTIONS:
                yield Static(title, classes="title", id=f"{name}-title")
                yield DataTable[Text](id=name, cursor_type="none", zebra_stripes=True)
            yield Static("", id="alerts")
        yield Footer()

    def on_mount(self) -> None:
        self.set_interval(self._every_s, self.action_refresh_now)
        self.action_refresh_now()

    def action_refresh_now(self) -> None:
        """Read in a worker; one that is still reading is left to finish."""
        if not any(worker.is_running for worker in self.workers):
            self.run_worker(self._read_status(), name="read", exit_on_error=False)

    async def _read_status(self) -> None:
        try:
            self.post_message(StatusRead(await self._read()))
        except ThunderError as error:
            self.post_message(StatusFailed(error))

    def on_status_read(self, message: StatusRead) -> None:
        status = message.status
        self.query_one("#headline", Static).update(Text.from_markup(headline(status)))
        for name, _, rows_of in SECTIONS:
            columns, rows = rows_of(status) if status[name] else ((), [])
            self.query_one(f"#{name}-title").display = bool(rows)
            self._fill(self.query_one(f"#{name}", DataTable), columns, rows)
        alerts = Text("\n").join(Text.assemble(("! ", "bold red"), alert) for alert in status["alerts"])
        self.query_one("#alerts", Static).update(alerts)

    def on_status_failed(self, message: StatusFailed) -> None:
        self.query_one("#alerts", Static).update(Text(f"! {message.error.message}", style="bold red"))

    def _fill(self, shown: DataTable[Text], columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        shown.display = bool(rows)
        shown.clear(columns=True)
        shown.add_columns(*columns)
        for row in rows:
            shown.add_row(*(Text.from_markup(cell) for cell in row))
