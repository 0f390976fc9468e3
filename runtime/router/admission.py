"""Who may go on to the engines now: as many requests as the plan's replicas hold, the others in a bounded queue.

What waits here has cost no engine anything, and its body is not read yet: it is refused before prefill, not in the
middle of an answer.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

from runtime.router.epochs import Epoch

LEAVES_KEPT = 64
LEAVES_TRUSTED = 8
SHORTEST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0
"""What OpenAI's clients obey; they take a longer one for nonsense."""


class Shed(Exception):
    """There is no room for a request, or none in time. `retry_after_s`: when there should be."""

    def __init__(self, reason: str, retry_after_s: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Admission:
    """Lets requests in up to `limit()` at a time, the others in turn, one key after another.

    A request that would wait longer than `queue_s` at the rate at which others leave is refused at once, else when it
    has waited so long. Where the queue is full, the last request of the key with the most in it makes room, so that a
    key that asks for little is not shut out by one that floods (longest queue drop; McKenney, Stochastic Fairness
    Queueing, 1990).
    """

    def __init__(
        self,
        limit: Callable[[], int],
        *,
        max_queued: int,
        queue_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._max_queued = max_queued
        self._queue_s = queue_s
        self._now = now
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}
        """Who waits, by key, in the order in which the keys are served."""
        self._leaves: deque[float] = deque(maxlen=LEAVES_KEPT)
        """When the queue began, then when requests left while it lasted."""
        self.in_flight = 0
        self.is_closed = False

    @property
    def limit(self) -> int:
        return self._limit()

    @property
    def queued(self) -> int:
        return sum(map(len, self._lines.values()))

    async def enter(self, key: str) -> None:
        """Wait to be let in; whoever is must `leave`. Raises Shed."""
        if self.is_closed:
            raise Shed("The router is stopping", SHORTEST_RETRY_S)
        if not self._lines and self.in_flight < self._limit():
            self.in_flight += 1
            return
        await self._wait_in_line(key)

    def leave(self) -> None:
        """A request is over: the next may go."""
        self.in_flight -= 1
        if self._lines:
            self._leaves.append(self._now())
        self._let_in()

    def close(self) -> None:
        """Refuse everybody from now on, those who wait among them."""
        self.is_closed = True
        for place in [place for line in self._lines.values() for place in line]:
            _refuse(place, Shed("The router is stopping", SHORTEST_RETRY_S))

    async def _wait_in_line(self, key: str) -> None:
        if not self._lines:
            self._leaves.clear()
            self._leaves.append(self._now())
        self._make_room(key)
        loop = asyncio.get_running_loop()
        place = loop.create_future()
        self._lines.setdefault(key, deque()).append(place)
        self._let_in()  # replicas may have come back since anybody left
        timer = loop.call_later(self._queue_s, self._expire, key, place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave()  # let in and gone at once
            raise
        finally:
            timer.cancel()
            self._forget(key, place)

    def _make_room(self, key: str) -> None:
        retry_after_s, is_measured = self._expected_s(key)
        if is_measured and retry_after_s > self._queue_s:
            raise self._shed(f"The wait would be {retry_after_s:.0f} s", retry_after_s)
        if self.queued < self._max_queued:
            return
        greediest = max(self._lines, key=lambda other: len(self._lines[other]), default=key)
        full = self._shed(f"{self.queued} requests wait already", retry_after_s)
        if len(self._lines.get(greediest, ())) <= len(self._lines.get(key, ())) + 1:
            raise full
        _refuse(self._lines[greediest][-1], full)
        self._forget(greediest, self._lines[greediest][-1])

    def _expected_s(self, key: str) -> tuple[float, bool]:
        """How long the key's next request would wait at the rate of the last leaves, and whether that is measured."""
        own = len(self._lines.get(key, ())) + 1
        ahead = own + sum(min(len(line), own) for other, line in self._lines.items() if other != key)
        left, seconds = len(self._leaves) - 1, self._now() - self._leaves[0]
        if left < 1 or seconds <= 0:
            return SHORTEST_RETRY_S, False
        return ahead * seconds / left, left >= LEAVES_TRUSTED

    def _let_in(self) -> None:
        while self._lines and self.in_flight < self._limit():
            key = next(iter(self._lines))
            line = self._lines.pop(key)
            place = line.popleft()
            if line:
                self._lines[key] = line  # behind the other keys
            if not place.done():
                self.in_flight += 1
                place.set_result(None)

    def _expire(self, key: str, place: "asyncio.Future[None]") -> None:
        expected_s, _ = self._expected_s(key)
        _refuse(place, self._shed(f"It waited {self._queue_s:g} s", expected_s))

    def _forget(self, key: str, place: "asyncio.Future[None]") -> None:
        line = self._lines.get(key)
        if line is not None and place in line:
            line.remove(place)
            if not line:
                del self._lines[key]

    def _shed(self, reason: str, retry_after_s: float) -> Shed:
        message = f"{reason}: {self.in_flight} requests are under way, and {self._limit()} can be at a time"
        return Shed(message, min(max(math.ceil(retry_after_s), SHORTEST_RETRY_S), LONGEST_RETRY_S))


def limit_of(epoch: Epoch, is_up: Callable[[str], bool], most: int) -> int:
    """How many requests may be under way: what the replicas that are up hold, as the plan says, and `most` at most.

    Routes that don't say what a replica holds bound nothing. When all are down all are counted: a check that fails for
    everything is doubted first.
    """
    replicas = epoch.replicas.values()
    if any(replica.max_requests == 0 for replica in replicas):
        return most
    held = sum(replica.max_requests for replica in replicas if is_up(replica.id))
    return min(held or sum(replica.max_requests for replica in replicas), most)


def _refuse(place: "asyncio.Future[None]", shed: Shed) -> None:
    if not place.done():
        place.set_exception(shed)
