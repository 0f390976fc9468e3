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

import heapq
from collections import deque
from math import ceil, floor, inf

from planner.simulation.agenda import Agenda
from planner.simulation.busy import BusyTime
from planner.simulation.host import Host
from planner.simulation.job import DECODE, HAND_ON, LOAD, SERVE, Job, Reports
from planner.simulation.pipeline import Pipeline
from planner.simulation.scenario import Server

ROUNDING = 1e-6
"""Tokens, or passes, that are none: sums of parts are rounded."""


class Engine:
    """The state of one replica between two events.

    `passes` began and ended so far; the `planned` next ones began at `at` and take `pass_s` each (0: idle). Of the KV,
    decoding sequences will take `context` in the next pass, and prompts and loads have `reserved` theirs; `leaving` of
    that will be free after the next pass. `due` is a heap of (pass, request, job), and `firsts` are the passes that
    bring loaded sequences their first tokens.
    """

    def __init__(
        self, server: Server, agenda: Agenda, busy: BusyTime, reports: Reports, host: Host | None = None
    ) -> None:
        self.pace, self.pp, self.budget = server.pace, server.pace.pp, server.tokens_per_pass
        self.capacity, self.most = float(server.kv_tokens), server.max_sequences
        self.agenda, self.busy, self.reports = agenda, busy, reports
        self.host, self.host_share = host, server.pace.host_share
        self.waiting: deque[Job] = deque()
        self.loaded: deque[Job] = deque()
        self.running: dict[Job, None] = {}
        self.prompt: Job | None = None
        self.due: list[tuple[int, int, Job]] = []
        self.firsts: deque[tuple[int, Job]] = deque()
        self.pipeline = Pipeline(self.pp)
        self.decoding = self.passes = self.planned = self.version = 0
        self.context = self.reserved = self.leaving = self.peak_kv = 0.0
        self.at = self.pass_s = 0.0

    # From outside.

    def take(self, job: Job, now: float) -> None:
        """A prompt comes, or a job whose KV can be fetched."""
        ahead = self.decoding / self.pp * self.planned
        if job.stage == LOAD and not self.waiting and len(self.running) < self.most and self._fits(job.prompt, ahead):
            self._load(job, self._next_pass(now))
            return
        self.waiting.append(job)
        if len(self.waiting) == 1 and self._fits(job.target):
            self._hurry(now)

    def take_loaded(self, job: Job, now: float) -> None:
        """A job's KV is in its blocks."""
        job.stage = SERVE
        self.loaded.append(job)
        self._hurry(now)

    def forget(self, job: Job, now: float) -> None:
        """A job whose KV will not come: it waits here, or has blocks reserved."""
        if job in self.waiting:
            self.waiting.remove(job)
        elif job.computed == inf:
            self.reserved -= job.prompt
        if self.waiting:
            self._hurry(now)

    def stop(self, now: float) -> None:
        """It fails: nothing more happens here."""
        if self.planned:
            self.busy.add(self.at, now)
        self.version += 1
        if self.host:
            self.host.end(self, now)

    def replan(self, now: float) -> None:
        """Its machine has become faster or slower for it."""
        if self.planned > 1:
            self._hurry(now)

    # Between passes.

    def _hurry(self, now: float) -> None:
        """Somebody came: plan anew at the end of the pass under way, or at once where there is none."""
        if not self.planned:
            self.at = now
            self._go_on(now)
        elif self.planned > 1:
            passes = self._passes_until(now)
            if passes < self.planned:
                self._wake_after(passes)

    def _passes_until(self, now: float) -> int:
        return max(1, ceil((now - self.at) / self.pass_s - ROUNDING))

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
        grown = self.decoding / self.pp
        self.passes += self.planned
        self.context += grown * self.planned
        self._note_kv(self.context - grown + self.reserved)
        self.busy.add(self.at, now)
        self.at = now
        if self.leaving:
            self._free_left()
        if self.firsts:
            self._tell_firsts(now)
        prefilled = self._end_due(now)
        self._go_on(now)
        for job in prefilled:
            self.reports.prefilled(job, now, now + self.pass_s)

    def _free_left(self) -> None:
        self.reserved -= self.leaving
        self.leaving = 0.0

    def _tell_firsts(self, now: float) -> None:
        """First tokens of loaded sequences, which came with some pass since the last event."""
        while self.firsts and self.firsts[0][0] <= self.passes:
            due, job = self.firsts.popleft()
            if job.stage == DECODE and not job.over:
                self.reports.first(job, now - (self.passes - due) * self.pass_s)

    def _end_due(self, now: float) -> list[Job]:
        """Sequences that have all their tokens leave, prompts that are through go on to decode, or are returned."""
        prefilled = []
        while self.due and self.due[0][0] <= self.passes:
            due, _, job = heapq.heappop(self.due)
            if due != job.due:
                continue
            job.due = -1  # preempted and soon back, a job may be listed twice for one pass
            if job.stage == DECODE:
                self.decoding -= 1
                self.context -= job.prompt + job.output
                self._leave(job, now)
            elif job.stage == HAND_ON:
                del self.running[job]
                self.leaving += job.target
                prefilled.append(job)
            else:
                self._begin(job, now)
        if not self.decoding:
            self.context = 0.0
        return prefilled

    def _begin(self, job: Job, now: float) -> None:
        """Its prompt is through the last stage, and with it comes a token."""
        self.reserved -= job.target
        job.tokens += 1
        if job.tokens == 1:
            self.reports.first(job, now)
        if job.tokens >= job.output:
            self._leave(job, now)
        else:
            self._decode(job, job.prompt + job.tokens)

    def _decode(self, job: Job, held: float) -> None:
        """A sequence joins those that decode, holding `held` tokens of KV in its first pass."""
        job.stage = DECODE
        self.decoding += 1
        self.context += held
        self._set_due(job, self.passes + int(job.output - job.tokens) * self.pp)

    def _leave(self, job: Job, now: float) -> None:
        del self.running[job]
        job.over = True
        self.reports.finished(job, now)

    # The next pass.

    def _go_on(self, now: float) -> None:
        """Compose the next pass; without prompts, plan passes until somebody ends or the KV is full."""
        preempted = self.context + self.reserved > self.capacity + ROUNDING
        if preempted:
            self._preempt()
        tokens, pairs = self._compose(now, admit=not preempted)
        if not self.running and (preempted or self.leaving):
            # A pass without work takes no time, frees what has been copied out, and admits again.
            self._free_left()
            tokens, pairs = self._compose(now, admit=True)
        if tokens:
            own_s = float(self.pace.turn_s(self.decoding, self.context, tokens * self.pp, pairs * self.pp)) / self.pp
            self._spend(now, 1, own_s)
        elif self.decoding:
            passes = 1 if preempted or self.leaving else self._undisturbed()
            context = self.context + self.decoding / self.pp * (passes - 1) / 2
            self._spend(now, passes, float(self.pace.decode_step_s(self.decoding, context)) / self.pp)
        elif self.running:  # prompts in the later stages
            self._spend(now, 1, 0.0)
        else:
            self.planned, self.pass_s = 0, 0.0
            self.pipeline.drain()
            if self.host:
                self.host.end(self, now)

    def _spend(self, now: float, passes: int, own_s: float) -> None:
        """Let passes go that take `own_s` each in every stage, or longer beside others that are busy on the machine."""
        if self.host:
            self.host.begin(self, now)
            own_s *= self.host.stretch
        passes, self.pass_s = self.pipeline.enter(passes, own_s)
        self._wake_after(passes)

    def _undisturbed(self) -> int:
        """Passes until the next end, or until the KV is full."""
        while self.due[0][2].due != self.due[0][0]:
            heapq.heappop(self.due)
        passes = self.due[0][0] - self.passes
        room = (self.capacity - self.reserved - self.context) * self.pp / self.decoding
        return max(1, min(passes, floor(room + ROUNDING) + 1))

    def _preempt(self) -> None:
        """Until the next pass fits, the newest request gives up its KV and waits in front."""
        while self.running and self.context + self.reserved > self.capacity + ROUNDING:
            job, _ = self.running.popitem()
            if job.stage == DECODE:
                came = job.output - (job.due - self.passes) / self.pp
                self.decoding -= 1
                self.context -= job.prompt + came
                job.tokens = floor(came + ROUNDING)
                job.stage, job.target = SERVE, job.prompt + job.tokens
            else:
                self.reserved -= job.target
            self.prompt = None if job is self.prompt else self.prompt
            job.computed, job.due = job.cached, -1
            self.waiting.appendleft(job)
            self.reports.preempted(job)

    def _compose(self, now: float, *, admit: bool) -> tuple[float, float]:
        """(prompt tokens, their attention's pairs) of the next pass, once everybody is admitted that fits."""
        left = self.budget - self.decoding / self.pp
        tokens = pairs = 0.0
        if self.prompt is not None:
            tokens, pairs = self._piece(self.prompt, left)
        while admit and self.loaded and left - tokens >= 1 and len(self.running) < self.most:
            job = self.loaded.popleft()
            self.reserved -= job.prompt
            self.running[job] = None
            self._decode(job, job.prompt)
            self.firsts.append((self.passes + self.pp, job))
            left -= 1 / self.pp
        while admit and self.waiting and left - tokens >= 1 and len(self.running) < self.most:
            job = self.waiting[0]
            if not self._fits(job.target):
                break
            self.waiting.popleft()
            if job.stage == LOAD:
                self._load(job, now)
                continue
            self.reserved += job.target
            self.running[job] = None
            more, more_pairs = self._piece(job, left - tokens)
            tokens, pairs = tokens + more, pairs + more_pairs
        self._note_kv(self.context + self.reserved)
        return tokens, pairs

    def _piece(self, job: Job, left: float) -> tuple[float, float]:
        """As much of a prompt as there is room for: its tokens, and the pairs of end² - start²."""
        start, end = job.computed, min(job.target, job.computed + floor(left))
        job.computed = end
        self.prompt = job
        if end >= job.target:
            self.prompt = None
            self._set_due(job, self.passes + self.pp)
        return end - start, end * end - start * start

    def _set_due(self, job: Job, due: int) -> None:
        job.due = due
        heapq.heappush(self.due, (due, job.request, job))

    def _load(self, job: Job, when: float) -> None:
        self.reserved += job.prompt
        job.computed = inf
        self.reports.load(job, when)

    def _note_kv(self, held: float) -> None:
        if held > self.peak_kv:
            self.peak_kv = held

    def _fits(self, tokens: float, ahead: float = 0.0) -> bool:
        return self.context + ahead + self.reserved + tokens <= self.capacity + ROUNDING
