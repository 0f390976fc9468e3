"""A part of the screen that is as many lines as its frame has to say; it can't be scrolled or chosen from."""

from collections.abc import Callable, Sequence

from rich.text import Text
from textual.geometry import Size
from textual.widget import Widget

from thunderctl.tui.frame import Frame

Drawn = Callable[[Frame, int, int], Sequence[Text]]
"""A frame, a width and a height → lines."""


class Lines(Widget):
    """Drawn anew for each frame and each size. Nothing to say: it takes no room.

    One that `fills` the room it is given is drawn for its height, others for the screen's.
    """

    def __init__(self, drawn: Drawn, *, id: str, fills: bool = False) -> None:
        super().__init__(id=id)
        self._drawn = drawn
        self._fills = fills
        self._frame: Frame | None = None

    def show(self, frame: Frame) -> None:
        self._frame = frame
        self.refresh(layout=True)

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
        return self._drawn(self._frame, width, height) if self._frame and width > 0 else ()
