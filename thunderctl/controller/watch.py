"""The pause between two ticks, which ends at once when the router gives a replica up, takes one back, or is gone.

The router meets every failure first: a request or its probe does. Its word is asked for on loopback, a few times a
second; asking all agents as often would cost each of them an answer.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from planner.errors import HostError

GLANCE_S = 0.25
"""Between two looks at what the router says."""


class Heeded(Protocol):
    """What is asked of a router."""

    async def up(self) -> frozenset[str]:
        """The replicas that it gives requests to. Raises HostError."""


@dataclass(slots=True)
class Watch:
    """Use `pause` as the controller's `sleep`. What the router said last is kept, so that a tick misses no news."""

    router: Heeded
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _up: frozenset[str] | None = field(default=frozenset(), init=False)

    async def pause(self, seconds: float) -> None:
        """So long, or until the router has news."""
        end = self.clock() + seconds
        while (left_s := end - self.clock()) > 0:
            if await self._has_news(left_s):
                return
            await self.sleep(min(GLANCE_S, max(0.0, end - self.clock())))

    async def _has_news(self, within_s: float) -> bool:
        before = self._up
        try:
            async with asyncio.timeout(within_s):
                self._up = await self.router.up()
        except (HostError, TimeoutError):
            self._up = None
        return self._up != before
