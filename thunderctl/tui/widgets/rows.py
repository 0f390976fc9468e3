"""A list of rows that scrolls, with a bar on one that can be chosen: replicas, machines, routes, events."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from thunderctl.tui.frame import Frame
from thunderctl.tui.widgets.lines import alike


@dataclass(frozen=True, slots=True)
class Row:
    """One line; `name` is what is chosen with it, empty where nothing is."""

    text: Text
    name: str = ""


Listed = Callable[[Frame, int], Sequence[Row]]
"""A frame and a width → rows."""


class Rows(ScrollView, can_focus=True):
    """Keeps its place and what is chosen while rows come and go."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"rows--chosen"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "move(-10)", show=False),
        Binding("pagedown", "move(10)", show=False),
        Binding("home", "move(-1000000)", show=False),
        Binding("end", "move(1000000)", show=False),
    ]

    def __init__(self, title: str, listed: Listed, *, id: str) -> None:
        super().__init__(id=id)
        self.border_title = title
        self._listed = listed
        self._frame: Frame | None = None
        self.rows: Sequence[Row] = ()
        self.chosen = ""

    def show(self, frame: Frame) -> None:
        self._frame = frame
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        self._draw()

    @property
    def plain(self) -> str:
        """All rows, those out of sight too, without colours."""
        return "\n".join(row.text.plain.rstrip() for row in self.rows)

    @property
    def is_drawn(self) -> bool:
        """Whether it has a place on the screen at all."""
        return all(one.display for one in self.ancestors_with_self)

    def _draw(self) -> None:
        if self._frame is None:
            return
        # One that is hidden has no width, and yet says how many rows it would have.
        width = self.scrollable_content_region.width or self.app.size.width
        before, self.rows = self.rows, self._listed(self._frame, width)
        names = [row.name for row in self.rows if row.name]
        if self.chosen not in names:
            self.chosen = names[0] if names else ""
        if self.virtual_size != Size(width, len(self.rows)):
            self.virtual_size = Size(width, len(self.rows))
            self.refresh(layout=True)
        elif not alike([row.text for row in before], [row.text for row in self.rows]):
            self.refresh()

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self.rows)

    def render_line(self, y: int) -> Strip:
        index, width = y + self.scroll_offset.y, self.scrollable_content_region.width
        base = self.rich_style
        if index >= len(self.rows):
            return Strip.blank(width, base)
        row = self.rows[index]
        if row.name and row.name == self.chosen and self.has_focus:
            base += self.get_component_rich_style("rows--chosen", partial=True)
        line = row.text.copy()
        line.rstrip()
        line.truncate(width, overflow="ellipsis", pad=True)
        line.end = ""
        segments = [Segment(text, base + (style or base)) for text, style, _ in line.render(self.app.console)]
        return Strip(segments, width)

    def action_move(self, by: int) -> None:
        """Choose the row so much further, or scroll where there is nothing to choose."""
        places = [index for index, row in enumerate(self.rows) if row.name]
        if not places:
            self.scroll_to(y=self.scroll_offset.y + by, animate=False)
            return
        now = next((n for n, index in enumerate(places) if self.rows[index].name == self.chosen), 0)
        place = places[max(0, min(len(places) - 1, now + by))]
        self.chosen = self.rows[place].name
        top = 0 if place == places[0] else place
        self.scroll_to_region_of(top, place)
        self.refresh()

    def scroll_to_region_of(self, first: int, last: int) -> None:
        """Scroll as little as shows these lines."""
        height, top = self.scrollable_content_region.height, self.scroll_offset.y
        if first < top:
            self.scroll_to(y=first, animate=False)
        elif last >= top + height:
            self.scroll_to(y=last - height + 1, animate=False)

    def on_click(self, event: events.Click) -> None:
        index = event.y + self.scroll_offset.y - (1 if self.styles.border_top[0] else 0)
        if 0 <= index < len(self.rows) and self.rows[index].name:
            self.chosen = self.rows[index].name
            self.refresh()
