"""What engines say of their own queues, and what of it this router never sent: other routers' requests, others' own.

An engine says how many requests run and wait in it, whoever sent them. What is more than this router has there is load
that its bookings don't know. Such a reading is a beat late: it corrects what is booked, and never takes its place.
"""

import re
import time
from collections.abc import Callable, Container
from dataclasses import dataclass

from runtime.router.choosing.load import Load

BEATS_KEPT = 3
"""Readings that may fail to come before the last one counts for nothing."""

_GAUGE = re.compile(rb"\nvllm:num_requests_(running|waiting)(?:\{.*\})? (\d+(?:\.\d+)?(?:e\+?\d{1,2})?)(?=\s)")


@dataclass(frozen=True, slots=True)
class Queue:
    """Requests that run and wait in an engine, all its ranks together."""

    running: int
    waiting: int

    @property
    def requests(self) -> int:
        return self.running + self.waiting


@dataclass(frozen=True, slots=True)
class _Reading:
    queue: Queue
    beyond: int
    at: float


class Queues:
    """The last readings of engines that answer. `load.beyond` follows from them.

    A request counts as another's once two readings in a row have it: a leg that begins or ends while an engine is
    asked is none, and a queue that matters is still there a beat later. `every_s` is the beat.
    """

    def __init__(self, load: Load, every_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._kept_s = every_s * BEATS_KEPT
        self._now = now
        self._readings: dict[str, _Reading] = {}

    def heard(self, replica: str, queue: Queue, own: int) -> None:
        """An engine said what it has, `own` of which this router sent, or more."""
        self.expire()
        before = self._readings.get(replica)
        reading = self._readings[replica] = _Reading(queue, max(queue.requests - own, 0), self._now())
        if beyond := min(before.beyond if before else 0, reading.beyond):
            self._load.beyond[replica] = beyond
        else:
            self._load.beyond.pop(replica, None)

    def of(self, replica: str) -> Queue | None:
        """What its engine said last; None where that is too long ago."""
        reading = self._readings.get(replica)
        return reading.queue if reading and self._is_fresh(reading) else None

    def expire(self) -> None:
        """Forget what was not said again for too long."""
        self._forget([replica for replica, reading in self._readings.items() if not self._is_fresh(reading)])

    def keep(self, replicas: Container[str]) -> None:
        """Forget all but these, which are still served from where they were."""
        self._forget([replica for replica in self._readings if replica not in replicas])

    def _is_fresh(self, reading: _Reading) -> bool:
        return self._now() - reading.at <= self._kept_s

    def _forget(self, replicas: list[str]) -> None:
        for replica in replicas:
            del self._readings[replica]
            self._load.beyond.pop(replica, None)


def read_queue(metrics: bytes) -> Queue | None:
    """From the text of vLLM's /metrics; None where it does not say both."""
    sums: dict[bytes, float] = {}
    for name, value in _GAUGE.findall(metrics):
        sums[name] = sums.get(name, 0.0) + float(value)
    return Queue(int(sums[b"running"]), int(sums[b"waiting"])) if len(sums) == 2 else None
