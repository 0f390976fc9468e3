"""One call for all who wait for what it says: a provider's listing, a look at the market."""

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from typing import Generic, TypeVar

T = TypeVar("T")


class Joined(Generic[T]):
    """`call`, made one at a time, for everybody who asked before it began; calls begin `every_s` apart at least."""

    def __init__(self, call: Callable[[], Awaitable[T]], every_s: float = 0.0) -> None:
        self._call = call
        self._every_s = every_s
        self._begun_at = -inf
        self._one = asyncio.Lock()
        self._next: asyncio.Task[T] | None = None

    async def next(self) -> T:
        """What the next call to begin says."""
        if self._next is None:
            self._next = asyncio.create_task(self._made())
        return await asyncio.shield(self._next)

    async def _made(self) -> T:
        clock = asyncio.get_running_loop().time
        async with self._one:
            await asyncio.sleep(max(0.0, self._begun_at + self._every_s - clock()))
            self._next, self._begun_at = None, clock()  # who asks from now on waits for another
            return await self._call()
