"""A panel with two axes: where values are on the picture, round ticks, and the grid behind what is drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log10

from benchmarks.figures.canvas import Canvas, Point

FULL = 1.0
"""Of an axis that shows a share."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Values from (0 or `low_x`, 0) to (`most_x`, `most_y`) within these pixels."""

    left: float
    top: float
    width: float
    height: float
    most_x: float
    most_y: float
    low_x: float = 0.0
    low_y: float = 0.0

    def x(self, value: float) -> float:
        return self.left + (value - self.low_x) / (self.most_x - self.low_x) * self.width

    def y(self, value: float) -> float:
        return self.top + self.height - (value - self.low_y) / (self.most_y - self.low_y) * self.height

    def at(self, x: float, y: float) -> Point:
        return self.x(x), self.y(y)

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def right(self) -> float:
        return self.left + self.width

    def grid(
        self,
        canvas: Canvas,
        xs: Sequence[float],
        ys: Sequence[float],
        *,
        x_text: Callable[[float], str] = "{:g}".format,
        y_text: Callable[[float], str] = "{:g}".format,
    ) -> None:
        """Faint lines across, one axis below; ticks are named beside them."""
        for value in ys:
            kind = "l-soft thin" if value == self.low_y else "l-rule thin"
            canvas.line([(self.left, self.y(value)), (self.right, self.y(value))], kind)
            canvas.text(self.left - 8, self.y(value) + 4, y_text(value), "s c-soft e")
        for value in xs:
            canvas.line([(self.x(value), self.bottom), (self.x(value), self.bottom + 4)], "l-soft thin")
            canvas.text(self.x(value), self.bottom + 18, x_text(value), "s c-soft m")

    def named(self, canvas: Canvas, x_name: str, y_name: str) -> None:
        """What the axes count, with units: one above the left axis, one below the right end."""
        canvas.text(self.left - 8, self.top - 12, y_name, "s c-soft")
        canvas.text(self.right, self.bottom + 36, x_name, "s c-soft e")


def ticks(most: float, wanted: int = 5) -> list[float]:
    """From 0 up to at least `most`, in steps of 1, 2 or 5 times a power of ten."""
    rough = most / wanted
    size = 10.0 ** floor(log10(rough))
    step = next(size * each for each in (1, 2, 5, 10) if size * each >= rough * (1 - 1e-9))
    count = int(-(-most // step))
    return [round(step * i, 10) for i in range(count + 1)]
