"""Who gets the bytes of the pool: first come, first served, and tickets leave some to fetches.

Two agents may prefill for each other. If tickets took all of both pools, no fetch would fit in either, and no ticket
would be read: both would wait until their fetches are given up. So where there are fetches, tickets have a share.
"""

import asyncio
import contextlib
from collections.abc import Callable

from runtime.relay.pool import Pool, Region

TICKETS_SHARE = 0.75
"""Of the pool. A ticket may have more where it is the only one: a prompt that needs so much would never move else."""


class Room:
    """Hands out regions of a pool. `ticket_bytes` says what tickets have of it."""

    def __init__(self, pool: Pool, ticket_bytes: Callable[[], int]) -> None:
        self._pool = pool
        self._ticket_bytes = ticket_bytes
        self._fetches = False
        self._turn = asyncio.Lock()
        self._tickets_turn = asyncio.Lock()
        self._freed = asyncio.Event()
        self._patient: dict[asyncio.Timeout, float] = {}

    def for_ticket(self, length: int) -> Region | None:
        """Bytes that are free now, or None."""
        return self._pool.reserve(length) if self._leaves_some(length) else None

    async def for_ticket_soon(self, length: int, within_s: float) -> Region | None:
        """`for_ticket`, after waiting that long at most. Tickets over their share are in no fetch's way."""
        if length > self._pool.size:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s), self._tickets_turn:
                await self._until(lambda: self._leaves_some(length))
                async with self._turn:
                    await self._until(lambda: self._pool.fits(length))
                    return self.for_ticket(length)
        return None

    async def for_fetch(self, length: int, within_s: float) -> Region | None:
        """Bytes for tiles that come; from now on there are fetches here.

        It is waited as long as others give bytes back, and `within_s` beyond the last of them.
        """
        self._fetches = True
        if length > self._pool.size:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s) as deadline:
                self._patient[deadline] = within_s
                try:
                    async with self._turn:
                        await self._until(lambda: self._pool.fits(length))
                        return self._pool.reserve(length)
                finally:
                    del self._patient[deadline]
        return None

    def free(self, region: Region) -> None:
        self._pool.free(region)
        self._freed.set()
        for deadline, within_s in self._patient.items():
            if not deadline.expired():
                deadline.reschedule(asyncio.get_running_loop().time() + within_s)

    def _leaves_some(self, length: int) -> bool:
        held = self._ticket_bytes()
        return not held or not self._fetches or held + length <= TICKETS_SHARE * self._pool.size

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            self._freed.clear()
            await self._freed.wait()
