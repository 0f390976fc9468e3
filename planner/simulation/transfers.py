"""KV transfers under way at once: every wire is shared equally by the transfers that cross it.

A transfer that puts only a part of its bytes on a wire weighs on it by that part, so that all that share a wire advance
alike. It goes as fast as the wire that gives it the least. That is exact where transfers meet on one wire; where they
meet on several, what one cannot use is not handed to the others (max-min fairness would), so it errs on the slow side.
Transfers over the same wires go equally fast, so one count of bytes serves them all: each ends when the count of its
flow reaches a mark, and an event costs a step per flow, not per transfer.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from math import inf

from planner.simulation.agenda import Agenda
from planner.simulation.job import Job
from planner.simulation.scenario import Lane, Wire

TOLERANCE_S = 1e-9
"""A transfer that would end within this has ended: marks and counts are rounded."""


class _Shared:
    """A wire, and its load: how many transfers cross it, each counted as the part of its bytes that does."""

    __slots__ = ("bytes_per_s", "load")

    def __init__(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self.load = 0.0


class _Flow:
    """Transfers over the same wires, in the same parts: `sent` bytes each since the flow began, over all of its wires
    together; in order of the marks they end at."""

    __slots__ = ("loads", "marks", "rate", "sent", "wires")

    def __init__(self, wires: list[_Shared], parts: Sequence[float]) -> None:
        self.wires = wires
        self.loads = list(zip(wires, parts or [1.0] * len(wires), strict=True))
        self.sent = self.rate = 0.0
        self.marks: list[tuple[float, int, Job]] = []

    def pop(self) -> Job:
        """The transfer that ends first leaves."""
        job = heapq.heappop(self.marks)[2]
        for wire, part in self.loads:
            wire.load -= part
        return job


class Transfers:
    """All of a run. `arrived` is called when the last byte of a job's KV is through."""

    def __init__(self, lanes: Iterable[Lane], agenda: Agenda, arrived: Callable[[float, Job], None]) -> None:
        self._agenda, self._arrived, self._lanes = agenda, arrived, tuple(lanes)
        shared: dict[Wire, _Shared] = {}
        flows: dict[tuple[tuple[Wire, ...], tuple[float, ...]], _Flow] = {}
        self._flows: dict[int, _Flow] = {}
        for lane in self._lanes:
            for wire in lane.wires:
                shared.setdefault(wire, _Shared(wire.bytes_per_s))
            flow = _Flow([shared[wire] for wire in lane.wires], lane.parts)
            self._flows[id(lane)] = flows.setdefault((lane.wires, lane.parts), flow)
        self._active: list[_Flow] = []
        self._at = 0.0
        self._version = 0

    def start(self, now: float, job: Job) -> None:
        """A job's KV goes onto the wires of its lane."""
        if job.over:
            return
        flow, size = self._flows[id(job.lane)], job.lane.wire_bytes_per_token * job.prompt
        if not flow.wires or size <= 0:
            self._arrived(now, job)
            return
        self._advance(now)
        if not flow.marks:
            flow.sent = 0.0
            self._active.append(flow)
        heapq.heappush(flow.marks, (flow.sent + size, job.request, job))
        for wire, part in flow.loads:
            wire.load += part
        self._go_on(now)

    def cancel(self, now: float, job: Job) -> None:
        """A job's transfer, if it has one, ends here."""
        flow = self._flows[id(job.lane)]
        left = [mark for mark in flow.marks if mark[2] is not job]
        if len(left) == len(flow.marks):
            return
        self._advance(now)
        heapq.heapify(left)
        flow.marks = left
        for wire, part in flow.loads:
            wire.load -= part
        self._go_on(now)

    def _advance(self, now: float) -> None:
        passed, self._at = now - self._at, now
        for flow in self._active:
            flow.sent += flow.rate * passed

    def _go_on(self, now: float) -> None:
        """Rate the flows anew, and wake up when the next transfer ends."""
        self._version += 1
        self._active = [flow for flow in self._active if flow.marks]
        soonest = inf
        for flow in self._active:
            rate = inf
            for wire in flow.wires:
                share = wire.bytes_per_s / wire.load
                if share < rate:
                    rate = share
            flow.rate = rate
            left_s = (flow.marks[0][0] - flow.sent) / rate
            if left_s < soonest:
                soonest = left_s
        if self._active:
            self._agenda.at(now + max(0.0, soonest), self._end, self._version)

    def _end(self, now: float, version: int) -> None:
        if version != self._version:
            return
        self._advance(now)
        ended = []
        for flow in self._active:
            reached = flow.sent + flow.rate * TOLERANCE_S
            while flow.marks and flow.marks[0][0] <= reached:
                ended.append(flow.pop())
        self._go_on(now)
        for job in ended:
            self._arrived(now, job)
