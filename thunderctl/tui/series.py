"""A series as columns over time: what falls into a column's time, or what was last known for a while. Pure."""

from collections.abc import Sequence

from thunderctl.tui.drawing import Values
from thunderctl.tui.frame import Document

WINDOWS_S = (60.0, 300.0, 900.0, 3600.0)
KEPT_S = 3600.0
HELD_S = 15.0
"""For so long a figure stands for what comes after it: series have a point every few seconds."""


def window_of(points: Sequence[Document], now: float, most_s: float) -> float:
    """The shortest usual window that all points are in, up to `most_s`: a screen just opened has few."""
    age_s = now - min((float(point["at"]) for point in points), default=now)
    return next((one for one in WINDOWS_S if age_s <= one or one >= most_s), WINDOWS_S[-1])


def columns_of(points: Sequence[Document], key: str, *, now: float, window_s: float, width: int) -> Values:
    """The highest value of each column's time; None where nothing was known."""
    step = window_s / width
    found: list[float | None] = [None] * width
    for point in points:
        value, column = point.get(key), width - 1 - int((now - point["at"]) / step)
        if value is not None and 0 <= column < width:
            found[column] = max(value, found[column] if found[column] is not None else value)
    return _held(found, int(HELD_S / step))


def _held(found: list[float | None], reach: int) -> Values:
    held, last, since = list(found), None, 0
    for index, value in enumerate(found):
        if value is not None:
            last, since = value, 0
        elif last is not None and since < reach:
            held[index], since = last, since + 1
    return held
