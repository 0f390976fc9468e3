"""One reading for all who want it now: made at most once in so long, however many ask, and shared by them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Shared(Generic[T]):
    """`read`, or what it gave less than `fresh_s` ago. Who asks while it is being read waits for that; it may raise."""

    read: Callable[[], Awaitable[T]]
    fresh_s: float
    clock: Callable[[], float] = time.monotonic
    _reading: "asyncio.Task[T] | None" = None
    _read_at: float = -inf

    async def get(self) -> T:
        known = self._reading
        failed = known is not None and known.done() and (known.cancelled() or known.exception() is not None)
        if known is None or failed or (known.done() and self.clock() - self._read_at >= self.fresh_s):
            known = self._reading = asyncio.ensure_future(self._read())
        return await asyncio.shield(known)

    async def _read(self) -> T:
        found = await self.read()
        self._read_at = self.clock()
        return found
