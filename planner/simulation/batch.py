"""Who takes part in a replica's passes, and the KV that they hold: admission, pieces of prompts, preemption, ends."""

import heapq
from collections import deque
from math import floor, inf

from planner.simulation.job import DECODE, HAND_ON, LOAD, SERVE, Job, Reports
from planner.simulation.scenario import Server

ROUNDING = 1e-6
"""Tokens, or passes, that are none: sums of parts are rounded."""


class Batch:
    """The sequences of one replica between two passes.

    `passes` began and ended so far. Of the KV, decoding sequences will take `context` in the next pass, and prompts and
    loads have `reserved` theirs; `leaving` of that will be free after the next pass. `due` is a heap of (pass, request,
    job), and `firsts` are the passes that bring loaded sequences their first tokens.
    """

    def __init__(self, server: Server, reports: Reports) -> None:
        self.pp, self.budget = server.pace.pp, server.tokens_per_pass
        self.capacity, self.most = float(server.kv_tokens), server.max_sequences
        self.reports = reports
        self.waiting: deque[Job] = deque()
        self.loaded: deque[Job] = deque()
        self.running: dict[Job, None] = {}
        self.prompt: Job | None = None
        self.due: list[tuple[int, int, Job]] = []
        self.firsts: deque[tuple[int, Job]] = deque()
        self.decoding = self.passes = 0
        self.context = self.reserved = self.leaving = self.peak_kv = 0.0

    # Who is there.

    def has_room_to_load(self, job: Job, passes: int) -> bool:
        """Whether its KV fits, after so many passes, and nobody is in front."""
        ahead = self.decoding / self.pp * passes
        return not self.waiting and len(self.running) < self.most and self.fits(job.prompt, ahead)

    def load(self, job: Job, when: float) -> None:
        """It gets blocks for its KV."""
        self.reserved += job.prompt
        job.computed = inf
        self.reports.load(job, when)

    def drop(self, job: Job) -> float:
        """A job that will not come: it waits here, or has tokens of KV reserved, which are told."""
        if job in self.waiting:
            self.waiting.remove(job)
        elif job.computed == inf:
            self.reserved -= job.prompt
            return job.prompt
        return 0.0

    def fits(self, tokens: float, ahead: float = 0.0) -> bool:
        return self.context + ahead + self.reserved + tokens <= self.capacity + ROUNDING

    def kv_over(self, passes: float) -> float:
        """Tokens of KV held in the mean of the next passes."""
        return self.context + self.decoding / self.pp * (passes - 1) / 2 + self.reserved

    # What a pass brings.

    def end_passes(self, passes: int) -> None:
        """These went by: the KV of those who decode has grown."""
        grown = self.decoding / self.pp
        self.passes += passes
        self.context += grown * passes
        self._note_kv(self.context - grown + self.reserved)

    def free_left(self) -> None:
        """What has been copied out is free."""
        self.reserved -= self.leaving
        self.leaving = 0.0

    def tell_firsts(self, now: float, pass_s: float) -> None:
        """First tokens of loaded sequences, which came with some pass since the last event."""
        while self.firsts and self.firsts[0][0] <= self.passes:
            due, job = self.firsts.popleft()
            if job.stage == DECODE and not job.over:
                self.reports.first(job, now - (self.passes - due) * pass_s)

    def end_due(self, now: float) -> list[Job]:
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

    # Who takes part in the next one.

    def undisturbed(self) -> int:
        """Passes until the next end, or until the KV is full."""
        while self.due[0][2].due != self.due[0][0]:
            heapq.heappop(self.due)
        passes = self.due[0][0] - self.passes
        if self.decoding:
            room = (self.capacity - self.reserved - self.context) * self.pp / self.decoding + ROUNDING
            if room < passes - 1:
                passes = floor(room) + 1
        return passes if passes > 1 else 1

    @property
    def is_too_big(self) -> bool:
        """Whether the KV of the next pass does not fit."""
        return self.context + self.reserved > self.capacity + ROUNDING

    def preempt(self) -> None:
        """Until the next pass fits, the newest request gives up its KV and waits in front."""
        while self.running and self.is_too_big:
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

    def compose(self, now: float, *, admit: bool) -> tuple[float, float]:
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
            if not self.fits(job.target):
                break
            self.waiting.popleft()
            if job.stage == LOAD:
                self.load(job, now)
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

    def _note_kv(self, held: float) -> None:
        if held > self.peak_kv:
            self.peak_kv = held
