"""What happened during a run, as lines through all panels over time, with names as far as there is room."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from planner.replay import Mark
from thunderctl.plots.panels import BOTH, Clock

NAME_ROWS, NAME_WIDTH = 3, 0.11
"""Names nearer than this part of the width share it in rows; what does not fit into these rows is drawn unnamed."""


def draw_marks(attainment: Axes, arrivals: Axes, use: Axes, marks: Sequence[Mark], clock: Clock) -> list[str]:
    """Lines for what happened before the end, named above the arrivals. Returns what the picture leaves out."""
    shown = [mark for mark in marks if mark.at_s <= clock.end_s]
    free = [-np.inf] * NAME_ROWS
    unnamed = 0
    for mark in shown:
        at = float(clock.of(mark.at_s))
        use.axvline(at, color="white", linewidth=2.4)
        for axes in (attainment, arrivals, use):
            axes.axvline(at, color=BOTH, linestyle=":", linewidth=1.4)
        place = mark.at_s / clock.end_s
        row = next((row for row, end in enumerate(free) if place - end >= NAME_WIDTH), None)
        if row is None:
            unnamed += 1
            continue
        free[row] = place
        _name(arrivals, mark.text, at, row, late=place > 1 - NAME_WIDTH)
    late = len(marks) - len(shown)
    notes = [f"and {_events(unnamed)} more, unnamed"] if unnamed else []
    return [*notes, f"{_events(late)} after the end not shown"] if late else notes


def _name(axes: Axes, text: str, at: float, row: int, *, late: bool) -> None:
    """Above the panel, on the right of the line; on its left where it is late in the run."""
    axes.annotate(
        text,
        (at, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(2 if late else -2, 4 + 11 * row),
        textcoords="offset points",
        ha="right" if late else "left",
    )


def _events(number: int) -> str:
    return f"{number} event{'' if number == 1 else 's'}"
