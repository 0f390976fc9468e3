"""Request-level simulation: requests in, time stamps of first and last tokens out. Seeded, deterministic.

Requests take the lanes of the epoch in force in the router's own rotation; the seed says where that stands at first.
When a server fails, whatever it was doing starts again on the lanes that are left, and so do requests whose KV it still
held; as in the router, decode servers prefill themselves where no other is up. A request is lost when nobody can take
it, or when its lane's servers could never hold it. Times are seconds on the clock of the arrivals.
"""

from collections.abc import Callable, Sequence

import numpy as np

from planner.demand import Floats
from planner.rotation import Rotation
from planner.simulation.agenda import Agenda
from planner.simulation.engine import Engine
from planner.simulation.handover import Handovers
from planner.simulation.host import Host
from planner.simulation.job import HAND_ON, LOAD, Job, Reports
from planner.simulation.scenario import Epoch, Failure, Lane, Requests, Server, Timings
from planner.simulation.usage import Usage

BUCKETS = 100
"""Buckets of use over the arrivals; a run that goes on for much longer has wider ones."""
WAKES = 12
"""Processes and threads that a request and its first token wake one after the other: of router, agent, front end and
engine, there and back."""
REPORTS = 200
"""Times that progress is told, spread over the arrivals."""


def simulate(
    requests: Requests,
    servers: Sequence[Server],
    epochs: Sequence[Epoch],
    failures: Sequence[Failure] = (),
    *,
    seed: int,
    progress: Callable[[float], None] = lambda _: None,
) -> Timings:
    """Play the requests through the lanes. `progress` is told the share of them that has arrived."""
    run = _Run(requests, servers, epochs, failures, seed, progress)
    run.agenda.play()
    return run.timings()


class _Run:
    """The requests as plain numbers, the servers they meet, and where their time stamps are written."""

    def __init__(
        self,
        requests: Requests,
        servers: Sequence[Server],
        epochs: Sequence[Epoch],
        failures: Sequence[Failure],
        seed: int,
        progress: Callable[[float], None],
    ) -> None:
        size = len(requests.arrival_s)
        self.arrival_s: list[float] = requests.arrival_s.tolist()
        self.prompt: list[float] = requests.prompt.tolist()
        self.output: list[float] = requests.output.tolist()
        self.cached: list[float] = [0.0] * size if requests.cached is None else requests.cached.tolist()
        self.first_s, self.last_s = [np.inf] * size, [np.inf] * size
        self.prefill, self.decode, self.epochs = [-1] * size, [-1] * size, [0] * size
        self.preemptions = [0] * size
        self.next, self.end_s, self.progress = 0, 0.0, progress
        self.agenda = Agenda()
        self.servers = servers
        bucket_s = max(self.arrival_s, default=0.0) / BUCKETS or 1.0
        self.engines: list[Engine] = []
        lanes = (lane for epoch in epochs for lane in epoch.lanes)
        self.handovers = Handovers(lanes, self.engines, self.agenda, self._hand_on, self._loaded)
        reports = Reports(self._first, self._finished, self._preempted, self.handovers.begin, self.handovers.load)
        hosts = {server.host: Host() for server in servers if server.pace.host_share > 0}
        self.engines += [
            Engine(server, self.agenda, Usage(bucket_s), reports, hosts.get(server.host)) for server in servers
        ]
        self.alive = [True] * len(servers)
        self.under_way: dict[int, Job] = {}
        self.random = np.random.default_rng(seed)
        self._begin_epoch(0.0, (0, epochs[0]))
        for number, epoch in enumerate(epochs[1:], 1):
            self.agenda.at(epoch.at_s, self._begin_epoch, (number, epoch))
        for failure in failures:
            self.agenda.at(failure.at_s, self._fail, failure.server)
        if size:
            self.agenda.at(self.arrival_s[0], self._arrive, None)

    def timings(self) -> Timings:
        bucket_s = self._widen()
        return Timings(
            first_s=np.array(self.first_s),
            last_s=np.array(self.last_s),
            prefill=np.array(self.prefill, dtype=np.int64),
            decode=np.array(self.decode, dtype=np.int64),
            epoch=np.array(self.epochs, dtype=np.int64),
            preemptions=np.array(self.preemptions, dtype=np.int64),
            busy_s=_rows([engine.usage.busy_s for engine in self.engines]),
            kv_held=_rows([engine.usage.kv_token_s for engine in self.engines]) / bucket_s,
            bucket_s=bucket_s,
            peak_kv=np.array([engine.batch.peak_kv for engine in self.engines]),
            end_s=self.end_s,
            events=next(self.agenda.events),
        )

    def _widen(self) -> float:
        """The bucket, once all are as long as the longest."""
        bucket_s = max(engine.usage.bucket_s for engine in self.engines)
        for engine in self.engines:
            while engine.usage.bucket_s < bucket_s:
                engine.usage.widen()
        return bucket_s

    # Requests find their way.

    def _arrive(self, now: float, _: None) -> None:
        """The next request is routed; it causes the arrival of the one after it."""
        request, self.next = self.next, self.next + 1
        if self.next < len(self.arrival_s):
            self.agenda.at(self.arrival_s[self.next], self._arrive, None)
        if request * REPORTS // len(self.arrival_s) != self.next * REPORTS // len(self.arrival_s):
            self.progress(self.next / len(self.arrival_s))
        self._route(now, request)

    def _route(self, now: float, request: int) -> None:
        lane = self._next_lane()
        self.epochs[request] = self.epoch
        if lane is None:
            self.prefill[request] = self.decode[request] = -1
            self._lose(now, request)
            return
        self.prefill[request], self.decode[request] = lane.prefill, lane.decode
        prompt, output = self.prompt[request], self.output[request]
        job = Job(request, lane, prompt, output, min(self.cached[request], prompt - 1))
        if prompt + output - 1 > self.servers[lane.decode].kv_tokens or prompt > self.servers[lane.prefill].kv_tokens:
            self._lose(now, request)
            return
        self.under_way[request] = job
        if host := self.engines[lane.prefill].host:
            self.agenda.at(now + WAKES * host.waking_s, self._take, job)
        else:
            self.engines[lane.prefill].take(job, now)

    def _take(self, now: float, job: Job) -> None:
        if not job.over:
            self.engines[job.lane.prefill].take(job, now)

    def _next_lane(self) -> Lane | None:
        return self.choices[self.rotation.pick(self.allowed)] if self.allowed else None

    def _lose(self, now: float, request: int) -> None:
        self.first_s[request] = self.last_s[request] = np.inf
        self.end_s = now

    # What engines report.

    def _first(self, job: Job, when: float) -> None:
        self.first_s[job.request] = when + job.lane.router_s

    def _finished(self, job: Job, now: float) -> None:
        self.end_s = now
        self.last_s[job.request] = now + job.lane.router_s
        del self.under_way[job.request]

    def _preempted(self, job: Job) -> None:
        self.preemptions[job.request] += 1

    def _hand_on(self, now: float, job: Job) -> None:
        if job.over:
            return
        if self.alive[job.lane.decode]:
            self.engines[job.lane.decode].take(job, now)
        else:
            self._restart(now, job)

    def _loaded(self, now: float, job: Job) -> None:
        if not job.over:
            self.engines[job.lane.decode].take_loaded(job, now)

    # What changes for all.

    def _begin_epoch(self, now: float, begun: tuple[int, Epoch]) -> None:
        self.epoch, epoch = begun
        self.lanes = [lane for lane in epoch.lanes if lane.share > 0]
        behind = self.random.random(len(self.lanes))
        self.rotation = Rotation([lane.share for lane in self.lanes], (behind - behind.mean()).tolist())
        self._allow()

    def _allow(self) -> None:
        """The lanes with both ends up or, without any, their decode servers alone."""
        up = self.alive
        self.choices = self.lanes
        self.allowed = [i for i, lane in enumerate(self.lanes) if up[lane.prefill] and up[lane.decode]]
        if not self.allowed:
            self.choices = [
                Lane(lane.decode, lane.decode, lane.share, router_s=lane.router_s / 2) for lane in self.lanes
            ]
            self.allowed = [i for i, lane in enumerate(self.lanes) if up[lane.decode]]

    def _fail(self, now: float, server: int) -> None:
        """What was on the server, or on its way to or from it, starts again."""
        if not self.alive[server]:
            return
        self.alive[server] = False
        self.engines[server].stop(now)
        self._allow()
        for request in sorted(self.under_way):
            job = self.under_way[request]
            if _needs(job, server):
                self._restart(now, job)

    def _restart(self, now: float, job: Job) -> None:
        """The request starts again on another lane, or is lost."""
        job.over = True
        del self.under_way[job.request]
        self.first_s[job.request] = np.inf
        if job.stage == LOAD:
            self.handovers.cancel(now, job)
            if self.alive[job.lane.decode]:
                self.engines[job.lane.decode].forget(job, now)
        self._route(now, job.request)


def _needs(job: Job, server: int) -> bool:
    if job.stage == HAND_ON:
        return job.lane.prefill == server
    return job.lane.decode == server or (job.stage == LOAD and job.lane.prefill == server)


def _rows(rows: Sequence[Sequence[float]]) -> Floats:
    """One row a server, all as long as the longest."""
    filled = np.zeros((len(rows), max(len(row) for row in rows)))
    for into, row in zip(filled, rows, strict=True):
        into[: len(row)] = row
    return filled
