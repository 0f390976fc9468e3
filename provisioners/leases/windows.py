"""Another budget by the clock, such as a smaller one at night: `[budget] windows`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo

QUARTER_S = 900
"""Clocks of all zones differ by whole quarters of an hour, and are put forward or back at one."""


@dataclass(frozen=True, slots=True)
class BudgetWindow:
    """Every day from `start` until `end`, as clocks there show it, this budget is in force; over midnight if `end` is
    the earlier one. Where clocks are put forward or back, they still decide: that day's window is an hour off.
    """

    start: time
    end: time
    tz: str
    usd_per_hour: float

    def __post_init__(self) -> None:
        if self.start == self.end:
            raise ValueError("it should end at another time than it begins; for the whole day set usd_per_hour")

    def covers(self, now: float) -> bool:
        """Whether it is in force at `now` (seconds since the epoch)."""
        shown = datetime.fromtimestamp(now, ZoneInfo(self.tz)).time()
        if self.start < self.end:
            return self.start <= shown < self.end
        return shown >= self.start or shown < self.end


def budget_at(now: float, usd_per_hour: float, windows: Iterable[BudgetWindow]) -> float:
    """The budget in force at `now`: the least of the windows that cover it, else the usual one ($/h)."""
    return min((window.usd_per_hour for window in windows if window.covers(now)), default=usd_per_hour)


def edges(windows: Iterable[BudgetWindow], now: float, within_s: float) -> Iterator[float]:
    """Every moment after `now` at which one of them may begin or end, in order; at most of them none does.

    That is each moment at which some clock shows an end's minute of the quarter, and each at which clocks are changed.
    """
    ends = [end for window in windows for end in (window.start, window.end)]
    within_quarter = sorted({(end.minute * 60 + end.second) % QUARTER_S for end in ends} | {0}) if ends else []
    for quarter in range(int(now // QUARTER_S), int((now + within_s) // QUARTER_S) + 1):
        for offset_s in within_quarter:
            if now < quarter * QUARTER_S + offset_s <= now + within_s:
                yield float(quarter * QUARTER_S + offset_s)
