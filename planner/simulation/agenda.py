"""What happens next: calls with their times, of which those at one time go in order of creation."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeAlias

Call: TypeAlias = Callable[[float, Any], None]
"""An event: called with the time and its subject, it handles itself and puts the events it causes on the agenda."""


class Agenda:
    """A heap of events."""

    __slots__ = ("events", "heap")

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, Call, Any]] = []
        self.events = count()

    def at(self, time: float, call: Call, subject: Any) -> None:
        heappush(self.heap, (time, next(self.events), call, subject))

    def play(self) -> None:
        """The loop: the next event, until there are none."""
        heap = self.heap
        while heap:
            now, _, call, subject = heappop(heap)
            call(now, subject)
