"""Who may go on to the engines now: as many requests as the plan's replicas hold, the others in a bounded queue.

What waits here has cost no engine anything: it is refused before prefill, not in the middle of an answer.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

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


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request in line: what it waits for, and how many sequences it is of."""

    place: "asyncio.Future[None]"
    sequences: int

    def refuse(self, shed: Shed) -> None:
        if not self.place.done():
            self.place.set_exception(shed)


class Admission:
    """Lets requests in up to `limit()` sequences at a time, the others in turn, one key after another.

    A request takes a place for each of its sequences; one that is of more than there are now goes alone. `places` is
    how many there are when every replica is up.

    A request that would wait longer than `queue_s` at the rate at which others leave is refused at once, else when it
    has waited so long. Where the queue is full, the last request of the key with the most in it makes room, so that a
    key that asks for little is not shut out by one that floods (longest queue drop; McKenney, Stochastic Fairness
    Queueing, 1990). Where no rate is measured yet who is refused is told to come back by `capacity_rps()`, which the
    plan states (0: it does not). `listeners` hear when it closes.
    """

    def __init__(
        self,
        limit: Callable[[], int],
        *,
        places: Callable[[], int] | None = None,
        max_queued: int,
        queue_s: float,
        capacity_rps: Callable[[], float] = lambda: 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._places = places or limit
        self._capacity_rps = capacity_rps
        self._max_queued = max_queued
        self._queue_s = queue_s
        self._now = now
        self._lines: dict[str, deque[_Waiting]] = {}
        """Who waits, by key, in the order in which the keys are served."""
        self._leaves: deque[tuple[float, int]] = deque(maxlen=LEAVES_KEPT)
        """When the queue began, then when requests left while it lasted, and of how many sequences they were."""
        self.in_flight = 0
        self.listeners: list[Callable[[], None]] = []
        self._is_shut = False
        self._is_stopping = False

    @property
    def is_closed(self) -> bool:
        return self._is_shut or self._is_stopping

    @property
    def limit(self) -> int:
        return self._limit()

    @property
    def places(self) -> int:
        return self._places()

    @property
    def queued(self) -> int:
        return sum(map(len, self._lines.values()))

    def retry_after_s(self) -> float:
        """When a request that can't be served now should come back (s)."""
        return _retry_s(self._expected_s("")[0])

    def check(self, key: str) -> None:
        """Raises Shed where `enter` would at once: nobody is let in any more, or the wait would be too long."""
        if self.is_closed:
            raise Shed("The router is stopping", SHORTEST_RETRY_S)
        if not self._lines:
            return
        retry_after_s, is_measured = self._expected_s(key)
        if is_measured and retry_after_s > self._queue_s:
            raise self._shed(f"The wait would be {retry_after_s:.0f} s", retry_after_s)

    async def enter(self, key: str, sequences: int = 1) -> None:
        """Wait to be let in; whoever is must `leave`. Raises Shed."""
        self.check(key)
        if not self._lines and self._has_room(sequences):
            self.in_flight += sequences
            return
        await self._wait_in_line(key, sequences)

    def leave(self, sequences: int = 1) -> None:
        """A request is over: the next may go."""
        self.in_flight -= sequences
        if self._lines:
            self._leaves.append((self._now(), sequences))
        self._let_in()

    def open(self) -> None:
        """Let requests in again, unless this is its end."""
        self._is_shut = False

    def stop(self) -> None:
        """Refuse everybody, for good."""
        self._is_stopping = True
        self.close()

    def close(self) -> None:
        """Refuse everybody until it is opened, those who wait among them."""
        self._is_shut = True
        for waiting in [waiting for line in self._lines.values() for waiting in line]:
            waiting.refuse(Shed("The router is stopping", SHORTEST_RETRY_S))
        for told in self.listeners:
            told()

    def _has_room(self, sequences: int) -> bool:
        limit = self._limit()
        return self.in_flight + min(sequences, max(limit, 1)) <= limit

    async def _wait_in_line(self, key: str, sequences: int) -> None:
        if not self._lines:
            self._leaves.clear()
            self._leaves.append((self._now(), 0))
        self._make_room(key)
        loop = asyncio.get_running_loop()
        place = loop.create_future()
        waiting = _Waiting(place, sequences)
        self._lines.setdefault(key, deque()).append(waiting)
        self._let_in()  # replicas may have come back since anybody left
        timer = loop.call_later(self._queue_s, self._expire, key, waiting)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave(sequences)  # let in and gone at once
            raise
        finally:
            timer.cancel()
            self._forget(key, waiting)
            self._let_in()  # it may have been waited for

    def _make_room(self, key: str) -> None:
        if self.queued < self._max_queued:
            return
        retry_after_s, _ = self._expected_s(key)
        greediest = max(self._lines, key=lambda other: len(self._lines[other]), default=key)
        full = self._shed(f"{self.queued} requests wait already", retry_after_s)
        if len(self._lines.get(greediest, ())) <= len(self._lines.get(key, ())) + 1:
            raise full
        last = self._lines[greediest][-1]
        last.refuse(full)
        self._forget(greediest, last)

    def _expected_s(self, key: str) -> tuple[float, bool]:
        """How long the key's next request would wait at the rate of the last leaves, and whether that is measured.

        Else at the plan's.
        """
        own = _sequences(self._lines.get(key, ())) + 1
        ahead = own + sum(min(_sequences(line), own) for other, line in self._lines.items() if other != key)
        left = sum([sequences for _, sequences in self._leaves][1:])
        seconds = self._now() - self._leaves[0][0] if self._lines else 0.0
        if left < 1 or seconds <= 0:
            capacity_rps = self._capacity_rps()
            return ahead / capacity_rps if capacity_rps > 0 else SHORTEST_RETRY_S, False
        return ahead * seconds / left, len(self._leaves) > LEAVES_TRUSTED

    def _let_in(self) -> None:
        """In turn: who needs more places than are free is waited for, or it would never get them."""
        while self._lines:
            key = next(iter(self._lines))
            first = self._lines[key][0]
            if not first.place.done() and not self._has_room(first.sequences):
                return
            line = self._lines.pop(key)
            line.popleft()
            if line:
                self._lines[key] = line  # behind the other keys
            if not first.place.done():
                self.in_flight += first.sequences
                first.place.set_result(None)

    def _expire(self, key: str, waiting: _Waiting) -> None:
        expected_s, _ = self._expected_s(key)
        waiting.refuse(self._shed(f"It waited {self._queue_s:g} s", expected_s))

    def _forget(self, key: str, waiting: _Waiting) -> None:
        line = self._lines.get(key)
        if line is not None and waiting in line:
            line.remove(waiting)
            if not line:
                del self._lines[key]

    def _shed(self, reason: str, retry_after_s: float) -> Shed:
        message = f"{reason}: {self.in_flight} requests are under way, and {self._limit()} can be at a time"
        return Shed(message, _retry_s(retry_after_s))


def _retry_s(expected_s: float) -> float:
    return min(max(math.ceil(expected_s), SHORTEST_RETRY_S), LONGEST_RETRY_S)


def _sequences(line: Iterable[_Waiting]) -> int:
    return sum([waiting.sequences for waiting in line])
