"""Another budget by the clock, such as a smaller one at night: `[budget] windows`."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo


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
