"""Axes: where a scale from 0 ends, and where its ticks and a time axis's are. Pure."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

HEADROOM = 1.08
MOST_TICKS = 4
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
WINDOWS_S = (300.0, 900.0, 1800.0, 3600.0)
TIME_STEPS_S = (60.0, 120.0, 300.0, 600.0, 900.0, 1800.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """From 0 to `top`, drawn downwards: 0 is at 100 %, the top at 0 %."""

    top: float
    step: float

    def at(self, value: float) -> float:
        """Where a value is, in percent of the height."""
        return round(100.0 * (1.0 - min(max(value, 0.0), self.top) / self.top), 2)

    @property
    def ticks(self) -> tuple[float, ...]:
        """Above 0, which the axis itself shows."""
        return tuple(self.step * n for n in range(1, math.floor(self.top / self.step + 1e-9) + 1))


def scale_over(most: float) -> Scale:
    """One that holds values up to `most` with some room, in round steps."""
    top = most * HEADROOM or 1.0
    power = 10.0 ** math.floor(math.log10(top / MOST_TICKS))
    step = next(power * one for one in STEPS if top <= power * one * MOST_TICKS * (1 + 1e-9))
    return Scale(top, step)


def window_over(age_s: float) -> float:
    """The shortest usual window, in seconds, that reaches back so far."""
    return next((one for one in WINDOWS_S if age_s <= one), WINDOWS_S[-1])


def times_of(end: float, window_s: float) -> Iterator[tuple[float, str]]:
    """Full minutes of a window that ends at `end` (seconds since the epoch): how far along each is (0 to 1), and its
    name, in UTC."""
    step = next(one for one in TIME_STEPS_S if window_s <= one * MOST_TICKS or one == TIME_STEPS_S[-1])
    first = math.ceil((end - window_s) / step) * step
    for at in (first + n * step for n in range(int(window_s / step) + 1)):
        if at <= end:
            yield (at - end + window_s) / window_s, datetime.fromtimestamp(at, UTC).strftime("%H:%M")
