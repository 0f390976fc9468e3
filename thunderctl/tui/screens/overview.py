"""The deployment on one page: money, latency, replicas, machines, routes, events. It lays out; the app reads."""

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.screen import Screen
from textual.widgets import Footer, Input

from thunderctl.tui.frame import Frame
from thunderctl.tui.room import heights
from thunderctl.tui.widgets.happened import event_rows
from thunderctl.tui.widgets.heading import heading
from thunderctl.tui.widgets.latency import latency_charts, latency_strip
from thunderctl.tui.widgets.lines import Lines
from thunderctl.tui.widgets.machines import machine_rows
from thunderctl.tui.widgets.nothing import nothing
from thunderctl.tui.widgets.notices import notices
from thunderctl.tui.widgets.replicas import replica_rows
from thunderctl.tui.widgets.routes import route_rows
from thunderctl.tui.widgets.rows import Rows

COMING = ("starting", "stopping")
"""States in which machines are what there is to see."""


class Overview(Screen[None]):
    """Draws every part anew for each frame; each draws itself anew for each size."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012 - as Screen has it
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "app.rebalance", "Rebalance"),
        Binding("d", "app.drain", "Drain"),
        Binding("u", "app.undrain", "Undrain"),
        Binding("l", "app.logs", "Logs"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("m", "machines", "Machines"),
        Binding("enter", "app.details", "Details", show=False),
        Binding("a", "app.alerts", "Alerts", show=False),
        Binding("tab", "app.focus_next", "Next part", show=False),
        Binding("escape", "unfilter", "All rows", show=False),
        Binding("ctrl+r,f5", "app.read_again", "Read again", show=False),
        Binding("question_mark", "app.keys", "Keys", key_display="?"),
        Binding("q", "app.quit", "Quit"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._machines: bool | None = None
        self._room: dict[str, int | None] = {}
        self._frame: Frame | None = None

    def compose(self) -> ComposeResult:
        yield Lines(heading, id="heading")
        yield Lines(notices, id="notices")
        yield Lines(latency_strip, id="strip")
        yield Lines(nothing, id="nothing")
        with Container(id="upper"):
            with Container(id="left"):
                yield Rows("Replicas", replica_rows, id="replicas")
                yield Rows("Machines", machine_rows, id="machines")
            with Vertical(id="right"):
                yield Lines(latency_charts, id="charts", fills=True)
                yield Rows("Routes", route_rows, id="routes")
        yield Rows("Events", event_rows, id="happened")
        yield Input(placeholder="only rows with … (enter keeps it, escape shows all)", id="filter")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one("#charts").border_title = "Latency"
        self.query_one("#replicas").focus()

    def show(self, frame: Frame) -> None:
        self._frame = frame
        self.set_class(frame.state == "absent", "absent")
        self.set_class(not frame.lists("routes"), "unrouted")
        self.set_class(bool(frame.failed) and frame.status is not None, "old")
        self._lay_out()
        for part in (*self.query(Lines), *self.query(Rows)):
            part.show(frame)

    def on_resize(self) -> None:
        self.call_after_refresh(self._give_room)

    def _give_room(self) -> None:
        """On a narrow screen parts are one below the other, and share what the lines above them leave."""
        parts = {part.id or "": part for part in self.query(Rows)}
        narrow, listed = self.has_class("-narrow"), "machines" if self.has_class("machines") else "replicas"
        wanted = {name: len(parts[name].rows) + 1 for name in (listed, "routes", "happened") if parts[name].is_drawn}
        above = sum(one.outer_size.height for one in self.query(Lines) if one.display)
        given = heights(self.size.height - above - 1, wanted, [listed, listed, listed, "routes", "happened"])
        room = {name: given.get(name) if narrow else None for name in parts}
        for name in [name for name in parts if room[name] != self._room.get(name)]:
            parts[name].styles.height = room[name]
        self._room = room

    @property
    def chosen(self) -> str:
        """The name of the replica or machine that has the bar on it, where such a part has the keys."""
        name = self.chosen_row
        listed = (one for key in ("replicas", "instances") for one in (self._frame.lists(key) if self._frame else ()))
        return name if any(one["id"] == name for one in listed) else ""

    @property
    def chosen_row(self) -> str:
        """As above, or of a crowd of replicas."""
        focused = self.focused
        return focused.chosen if isinstance(focused, Rows) and focused.id in ("replicas", "machines") else ""

    @property
    def chosen_event(self) -> str:
        focused = self.focused
        return focused.chosen if isinstance(focused, Rows) and focused.id == "happened" else ""

    def action_machines(self) -> None:
        """On a small screen machines and replicas have one place; on a large one the keys go there."""
        if self.has_class("-narrow"):
            self._machines = not self.has_class("machines")
            self._lay_out()
            self.query_one("#machines" if self._machines else "#replicas").focus()
        else:
            self.query_one("#machines").focus()

    def action_filter(self) -> None:
        self.add_class("filtering")
        self.query_one("#filter", Input).focus()

    def action_unfilter(self) -> None:
        field = self.query_one("#filter", Input)
        field.value = ""
        self._end_filtering()

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape" and self.has_class("filtering"):
            event.stop()
            self.action_unfilter()

    def on_input_submitted(self) -> None:
        self._end_filtering()

    def _end_filtering(self) -> None:
        self.remove_class("filtering")
        self.query_one("#machines" if self.has_class("machines") else "#replicas").focus()

    def _lay_out(self) -> None:
        """Whoever pressed m is obeyed; else machines are shown while they come and go."""
        coming = self._frame is not None and self._frame.state in COMING and not self._frame.lists("routes")
        self.set_class(coming if self._machines is None else self._machines, "machines")
        self.call_after_refresh(self._give_room)
