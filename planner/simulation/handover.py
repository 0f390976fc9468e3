"""The way of a prompt's KV from where it was computed to where it is decoded: packed, announced, sent, unpacked.

On machines of their own the parts take their times, and the request goes on while its KV is packed. Engines that share
a machine do them one after the other, as work that slows others down and is slowed by them: what is packed and unpacked
in the engine's own process, the rest in others.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence

from planner.simulation.agenda import Agenda
from planner.simulation.engine import Engine
from planner.simulation.host import Work
from planner.simulation.job import LOAD, Job
from planner.simulation.scenario import Lane
from planner.simulation.transfers import Transfers

WAKES = 23
"""Processes and threads that a hand-over wakes one after the other: those of a second request, and eleven of the
connectors and agents that move the KV."""


class Handovers:
    """All of a run. `hand_on` is called when the request reaches its decode replica, `loaded` when its KV has."""

    def __init__(
        self,
        lanes: Iterable[Lane],
        engines: Sequence[Engine],
        agenda: Agenda,
        hand_on: Callable[[float, Job], None],
        loaded: Callable[[float, Job], None],
    ) -> None:
        self.engines, self.agenda = engines, agenda
        self.hand_on, self.loaded = hand_on, loaded
        self.transfers = Transfers(lanes, agenda, self._arrived)

    def begin(self, job: Job, now: float, copied_s: float) -> None:
        """The prompt is through; its KV is copied out at `copied_s`."""
        job.stage, lane = LOAD, job.lane
        if self.engines[lane.prefill].host:
            self.agenda.at(copied_s, self._pack, job)
            return
        job.ready_s = copied_s + lane.packing_s_per_token * job.prompt + lane.latency_s
        self.agenda.at(now + lane.latency_s, self.hand_on, job)

    def load(self, job: Job, when: float) -> None:
        """There is room for the KV from this time on."""
        self.agenda.at(max(when, job.ready_s), self.transfers.start, job)

    def cancel(self, now: float, job: Job) -> None:
        """Nobody waits for it any more."""
        self.transfers.cancel(now, job)

    def _pack(self, now: float, job: Job) -> None:
        engine = self.engines[job.lane.prefill]
        self._work(now, job, job.lane.packing_s_per_token * job.prompt, engine, engine.process, self._announce)

    def _announce(self, now: float, job: Job) -> None:
        host = self.engines[job.lane.prefill].host
        self.agenda.at(now + WAKES * host.waking_s if host else now, self._move, job)

    def _move(self, now: float, job: Job) -> None:
        job.ready_s = 0.0
        self._work(now, job, job.lane.latency_s, self.engines[job.lane.decode], job, self.hand_on)

    def _arrived(self, now: float, job: Job) -> None:
        engine = self.engines[job.lane.decode]
        self._work(now, job, job.lane.packing_s_per_token * job.prompt, engine, engine.process, self.loaded)

    def _work(
        self, now: float, job: Job, own_s: float, engine: Engine, process: Hashable, done: Callable[[float, Job], None]
    ) -> None:
        """A part of it, on the machine of an engine: it takes `own_s`, or longer where cores are shared."""
        if job.over or own_s <= 0:
            done(now, job)
        elif engine.host is None:
            self.agenda.at(now + own_s, done, job)
        else:
            Work(engine.host, process, self.agenda, done).start(now, own_s, engine.pace.host_share, job)
