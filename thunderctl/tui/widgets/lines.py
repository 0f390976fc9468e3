"""A part of the screen that is as many lines as its frame has to say; it can't be scrolled or chosen from."""

from collections.abc import Callable, Sequence

from rich.text import Text
from textual.geometry import Size
from textual.widget import Widget

from thunderctl.tui.frame import Frame

Drawn = Callable[[Frame, int, int], Sequence[Text]]
"""A frame, a width and a height → lines."""


class Lines(Widget):
    """Drawn for each frame and each size; on the screen where it says something else. Nothing to say: it takes no room.

    One that `fills` the room it is given is drawn for its height, others for the screen's.
    """

    def __init__(self, drawn: Drawn, *, id: str, fills: bool = False) -> None:
        super().__init__(id=id)
        self._drawn = drawn
        self._fills = fills
        self._frame: Frame | None = None
        self._lines_of: tuple[Frame | None, int, int] = (None, 0, 0)
        self._last: Sequence[Text] = ()

    def show(self, frame: Frame) -> None:
        # One that takes no room has no width.
        width = self.size.width or self.app.size.width
        before = self._lines(width)
        self._frame = frame
        lines = self._lines(width)
        if self.display and not alike(before, lines):
            self.refresh(layout=len(before) != len(lines))

    @property
    def plain(self) -> str:
        """What stands there, without colours."""
        return "\n".join(line.plain for line in self._lines(self.size.width))

    def render(self) -> Text:
        return Text("\n").join(self._lines(self.size.width))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines(width))

    def _lines(self, width: int) -> Sequence[Text]:
        height = self.size.height if self._fills else self.app.size.height
        if self._frame is None or width <= 0:
            return ()
        of, *size = self._lines_of
        if self._frame is not of or size != [width, height]:
            self._lines_of, self._last = (self._frame, width, height), self._drawn(self._frame, width, height)
        return self._last


def alike(some: Sequence[Text], others: Sequence[Text]) -> bool:
    """Whether they look the same: `Text` compares without the style of the whole."""
    return len(some) == len(others) and all(
        one == other and one.style == other.style for one, other in zip(some, others, strict=True)
    )
