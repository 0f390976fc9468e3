"""One replica as vLLM V1 schedules it, pass by pass (`vllm/v1/core/sched/scheduler.py`, version 0.32).

Every pass carries a token for each decoding sequence and, up to the token budget, pieces of prompts in order of
arrival; the one that does not fit whole goes on in the next pass. A request is admitted, in order, once its prompt fits
the free KV; its output is not reserved. When the KV is full, the newest request gives up its own, waits in front of all
others, and computes prompt and output so far again; a pass that preempts admits nobody. KV is counted in tokens, not in
blocks. As our connector does it, KV that comes over a route is loaded into blocks that are taken before, and that of
prompts to be handed on is copied out, and its blocks freed, behind the next pass.

With stages, a sequence takes part in every `pp`th pass, and passes follow each other as `pipeline.py` says.

Without prompts nothing but the context changes from pass to pass until somebody comes or ends. Such passes are one
event, each as long as the one with their mean context. That is exact where time is linear in context and nobody comes
before; else it errs by less than 0.5 %, since a batch grows little until its next end.
"""

from math import ceil

from planner.simulation.agenda import Agenda
from planner.simulation.batch import ROUNDING, Batch
from planner.simulation.host import Host
from planner.simulation.job import LOAD, SERVE, Job, Reports
from planner.simulation.pipeline import Pipeline
from planner.simulation.scenario import Server
from planner.simulation.usage import Usage


class Engine:
    """The passes of one replica: the `planned` next ones began at `at` and take `pass_s` each (0: idle).

    `late` are tokens of KV times seconds by which what the batch holds now was reserved after `at`.
    """

    def __init__(
        self, server: Server, agenda: Agenda, usage: Usage, reports: Reports, host: Host | None = None
    ) -> None:
        self.pace, self.pp = server.pace, server.pace.pp
        self.agenda, self.usage, self.reports = agenda, usage, reports
        self.host, self.host_share = host, 0.0
        self.process = id(self)
        self.batch = Batch(server, reports)
        self.pipeline = Pipeline(self.pp)
        self.planned = self.version = 0
        self.at = self.pass_s = self.late = 0.0

    # From outside.

    def take(self, job: Job, now: float) -> None:
        """A prompt comes, or a job whose KV can be fetched."""
        batch = self.batch
        if job.stage == LOAD and batch.has_room_to_load(job, self.planned):
            self._load(job, self._next_pass(now))
            return
        batch.waiting.append(job)
        if len(batch.waiting) == 1 and batch.fits(job.target):
            self._hurry(now)

    def take_loaded(self, job: Job, now: float) -> None:
        """A job's KV is in its blocks."""
        job.stage = SERVE
        self.batch.loaded.append(job)
        self._hurry(now)

    def forget(self, job: Job, now: float) -> None:
        """A job whose KV will not come."""
        self.late -= self.batch.drop(job) * (now - self.at)
        if self.batch.waiting:
            self._hurry(now)

    def stop(self, now: float) -> None:
        """It fails: nothing more happens here."""
        if self.planned:
            self._note_use(now, (now - self.at) / self.pass_s if self.pass_s else 1)
        self.version += 1
        if self.host:
            self.host.end(self, now)

    def slow(self, now: float, times: float) -> None:
        """What is left of the pass under way takes so many times as long; of several, those behind it."""
        if self.planned > 1:
            self._hurry(now)
        elif self.pp == 1 and (left_s := self.at + self.pass_s - now) > 0:
            self.pass_s += left_s * (times - 1)
            self._wake_after(1)

    # Between passes.

    def _load(self, job: Job, when: float) -> None:
        if not self.planned and not self.batch.reserved:
            self.at = when  # until now nothing was held
        self.late += job.prompt * (when - self.at)
        self.batch.load(job, when)

    def _hurry(self, now: float) -> None:
        """Somebody came: plan anew at the end of the pass under way, or at once where there is none."""
        if not self.planned:
            if self.batch.reserved:
                self._note_use(now, 1, busy=False)
            self.at = now
            self._go_on(now)
        elif self.planned > 1:
            passes = self._passes_until(now)
            if passes < self.planned:
                self._wake_after(passes)

    def _passes_until(self, now: float) -> int:
        return max(1, ceil((now - self.at) / self.pass_s - ROUNDING)) if self.pass_s else 1

    def _next_pass(self, now: float) -> float:
        return self.at + self._passes_until(now) * self.pass_s if self.planned else now

    def _wake_after(self, passes: int) -> None:
        self.planned = passes
        self.version += 1
        self.agenda.at(self.at + passes * self.pass_s, self._wake, self.version)

    def _wake(self, now: float, version: int) -> None:
        """The planned passes are over, unless plans changed since."""
        if version != self.version:
            return
        batch = self.batch
        self._note_use(now, self.planned)
        batch.end_passes(self.planned)
        self.pipeline.go(self.planned)
        self.at = now
        if batch.leaving:
            batch.free_left()
        if batch.firsts:
            batch.tell_firsts(now, self.pass_s)
        prefilled = batch.end_due(now)
        self._go_on(now)
        for job in prefilled:
            self.reports.prefilled(job, now, now + self.pass_s)

    def _note_use(self, now: float, passes: float, *, busy: bool = True) -> None:
        """What happened since `at`."""
        held = self.batch.kv_over(passes)
        if self.late:
            held = max(0.0, held - self.late / (now - self.at)) if now > self.at else held
            self.late = 0.0
        self.usage.add(self.at, now, held, busy=busy)

    def _go_on(self, now: float) -> None:
        """Compose the next pass; without prompts, plan passes until somebody ends or the KV is full."""
        batch, pp = self.batch, self.pp
        preempted = batch.is_too_big
        if preempted:
            batch.preempt()
        tokens, pairs = batch.compose(now, admit=not preempted)
        if not batch.running and (preempted or batch.leaving):
            # A pass without work takes no time, frees what has been copied out, and admits again.
            batch.free_left()
            tokens, pairs = batch.compose(now, admit=True)
        if tokens:
            turn_s = self.pace.turn_s(batch.decoding, batch.context, tokens * pp, pairs * pp)
            self._spend(now, 1, float(turn_s) / pp)
        elif batch.running:
            passes = 1 if preempted or batch.leaving else batch.undisturbed()
            self._spend(now, passes, self._decode_s(passes) if batch.decoding else 0.0)  # 0: prompts in later stages
        else:
            self.planned, self.pass_s = 0, 0.0
            self.pipeline.drain()
            if self.host:
                self.host.end(self, now)

    def _decode_s(self, passes: int) -> float:
        """The mean of so many passes without prompts."""
        batch = self.batch
        context = batch.context + batch.decoding / self.pp * (passes - 1) / 2
        return float(self.pace.turn_s(batch.decoding, context)) / self.pp

    def _spend(self, now: float, passes: int, own_s: float) -> None:
        """Let passes go that take `own_s` each in every stage, or longer beside others that are busy on the machine."""
        if self.host and own_s:
            own_s *= self.host.begin(self, now, self._share(own_s))
        passes, self.pass_s = self.pipeline.plan(passes, own_s)
        self._wake_after(passes)

    def _share(self, own_s: float) -> float:
        """What it takes of its machine: its own cores, and those that send out what its passes bring."""
        return self.pace.host_share + self.pace.stream_s * self.batch.decoding / self.pp / own_s
