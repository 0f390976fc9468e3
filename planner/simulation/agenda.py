"""What happens next: calls with their times, of which those at one time go in order of creation."""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any, TypeAlias

Call: TypeAlias = Callable[[float, Any], None]
"""An event: called with the time and its subject, it handles itself and puts the events it causes on the agenda."""


class Agenda:
    """A heap of events."""

    __slots__ = ("events", "heap", "now")

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, Call, Any]] = []
        self.events = count()
        self.now = 0.0

    def at(self, time: float, call: Call, subject: Any) -> None:
        heapq.heappush(self.heap, (time, next(self.events), call, subject))

    def play(self) -> None:
        """The loop: the next event, until there are none."""
        heap = self.heap
        while heap:
            self.now, _, call, subject = heapq.heappop(heap)
            call(self.now, subject)
