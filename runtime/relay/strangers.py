"""Who is connected to an agent's port and has not shown a certificate yet; and who of them goes when they are many.

Who is to be let in is through within milliseconds, unless many come at once: they are let be. A crowd of the mute, from
wherever, shuts nobody out who comes from elsewhere.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

LIMIT_STRANGERS = 512
DALLIED_S = 1.0


class Strangers:
    """The tasks that serve them, each with the address that it was called from, as they came."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._here: dict[asyncio.Task[None], tuple[str, float]] = {}
        self._from: Counter[str] = Counter()

    @property
    def are_many(self) -> bool:
        return len(self._here) >= LIMIT_STRANGERS

    def add(self, task: asyncio.Task[None], address: str) -> None:
        self._here[task] = address, self._now()
        self._from[address] += 1

    def discard(self, task: asyncio.Task[None]) -> None:
        """It is known, or has gone."""
        address, _ = self._here.pop(task, ("", 0.0))
        if address and self._from[address] == 1:
            del self._from[address]
        elif address:
            self._from[address] -= 1

    def who_goes_for(self, address: str) -> asyncio.Task[None] | None:
        """Of many the one that goes when another calls from there; None: it is the other.

        Who has dallied longest; where nobody has, the first of those who come from where most do.
        """
        first = next(iter(self._here))
        if self._now() - self._here[first][1] >= DALLIED_S:
            return first
        (crowded, _), *_ = self._from.most_common(1)
        if crowded == address:
            return None
        return next(task for task, (came_from, _) in self._here.items() if came_from == crowded)
