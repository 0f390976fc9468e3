"""The time of day as leases need it: a clock that is set by hours must not end every lease at once."""

import time
from collections.abc import Callable

TOLERANCE_S = 30.0
"""What two looks may differ by without a jump: clocks are slewed by less."""
HELD_S = 600.0
"""How long a jump must have stood before it counts: time to see the alert, and to set the clock right again."""


def awake_and_asleep() -> float:
    """Seconds that have passed, those of a laptop's sleep included, whatever the clock is set to."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """Seconds since the epoch. When the clock is set, time goes on as it passed, and `jump_s` says by how much it was.

    A jump that has stood for HELD_S counts: the clock that was wrong may as well have been the one before.
    """

    def __init__(self, wall: Callable[[], float] = time.time, passed: Callable[[], float] = awake_and_asleep) -> None:
        self._wall = wall
        self._passed = passed
        self._ahead = wall() - passed()
        self._since: float | None = None
        self.jump_s = 0.0

    def __call__(self) -> float:
        passed = self._passed()
        off = self._wall() - passed - self._ahead
        if abs(off - self.jump_s) > TOLERANCE_S:
            self._since = passed
            self.jump_s = off
        if abs(off) <= TOLERANCE_S or (self._since is not None and passed - self._since >= HELD_S):
            self._ahead += off
            self._since, self.jump_s = None, 0.0
        return passed + self._ahead
