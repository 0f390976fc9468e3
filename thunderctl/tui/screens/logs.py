"""Logs, followed: of a replica, a machine, or everything."""

from collections.abc import Awaitable, Sequence
from typing import ClassVar, Protocol

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Footer, RichLog, Static

from planner.errors import ThunderError
from thunderctl.tui.background import Background
from thunderctl.tui.feed import Say, Show
from thunderctl.tui.frame import cleaned
from thunderctl.tui.messages import LogLines
from thunderctl.tui.theme import ACCENT, FAINT, INK, PHASES, WARN

KEPT_LINES = 5000
COLOURS = (ACCENT, *PHASES.values())


class Follow(Protocol):
    """`Hands.follow`."""

    def __call__(self, names: Sequence[str], show: Show, say: Say) -> Awaitable[None]: ...


class LogsScreen(Screen[None]):
    """New lines come at the end; while one looks further up, what is seen stays."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Back"),
        Binding("end", "end", "To the end"),
        Binding("w", "wrap", "Wrap lines"),
    ]

    def __init__(self, follow: Follow, background: Background, names: Sequence[str]) -> None:
        super().__init__()
        self._follow = follow
        self._background = background
        self._names = tuple(names)
        self._told: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        of = ", ".join(self._names) or "everything"
        yield Static(Text(f"Logs of {of}"), id="log-title")
        yield RichLog(max_lines=KEPT_LINES, wrap=False, markup=False, highlight=False, id="log")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one("#log").focus()
        self.run_worker(self._read(), exit_on_error=False)

    async def _read(self) -> None:
        try:
            await self._background.run(self._followed())
        except ThunderError as error:
            self._say(f"{error.message} {error.hint}".strip())

    async def _followed(self) -> None:
        await self._follow(self._names, self._show, self._say)

    def _show(self, name: str, lines: list[str]) -> None:
        self.post_message(LogLines(name, lines))

    def _say(self, text: str) -> None:
        self.post_message(LogLines("", [text]))

    def on_log_lines(self, message: LogLines) -> None:
        log = self.query_one("#log", RichLog)
        for line in cleaned(message.lines):
            log.write(self._line(message.name, line), scroll_end=log.is_vertical_scroll_end)

    def _line(self, name: str, line: str) -> Text:
        """Behind its log's name, in that log's colour, where there are several."""
        if not name:
            return Text(f"· {line}", WARN)
        if len(self._names) == 1:
            return Text(line, INK)
        colour = self._told.setdefault(name, COLOURS[len(self._told) % len(COLOURS)])
        return Text.assemble((f"{name} ", colour), ("│ ", FAINT), (line, INK))

    def action_end(self) -> None:
        self.query_one("#log", RichLog).scroll_end(animate=False)

    def action_wrap(self) -> None:
        """Of lines that come from now on."""
        log = self.query_one("#log", RichLog)
        log.wrap = not log.wrap
