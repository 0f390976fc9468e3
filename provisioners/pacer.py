"""How often an account may ask: turns of one kind of call, given out in the order in which they are asked for."""

import asyncio
import time
from collections.abc import Awaitable, Callable

LONGEST_PAUSE_S = 60.0
MOST_DOUBLINGS = 64
"""No pause is doubled more often: by then it is the longest, and a float ends at 1024."""


class Pacer:
    """At most `burst` calls at once, and one every `interval_s` in the long run.

    That is the generic cell rate algorithm (ITU-T I.371), in its virtual-scheduling form: `_due` is when the next call
    would come at the steady rate, and a call may come up to (burst - 1) intervals before. A turn is taken when it is
    asked for, before waiting for it, so tasks that run side by side get different ones.
    """

    def __init__(
        self,
        interval_s: float,
        *,
        burst: int = 1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._interval_s = interval_s
        self._ahead_s = (burst - 1) * interval_s
        self._clock = clock
        self._sleep = sleep
        self._due = clock()
        self._refused = 0

    async def turn(self) -> None:
        """Return when the call may go out."""
        now = self._clock()
        self._due = max(self._due, now)
        wait_s = self._due - self._ahead_s - now
        self._due += self._interval_s
        if wait_s > 0:
            await self._sleep(wait_s)

    def refused(self) -> None:
        """The provider says that calls come too fast: nobody goes for a while, longer each time in a row."""
        self._refused += 1
        pause_s = min(self._interval_s * 2.0 ** min(self._refused, MOST_DOUBLINGS), LONGEST_PAUSE_S)
        self._due = max(self._due, self._clock() + pause_s + self._ahead_s)

    def accepted(self) -> None:
        self._refused = 0
