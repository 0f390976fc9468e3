"""Requests over a server that is shared among all that it has, as an engine is: those with short answers end first."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from runtime.router.watching.observed import Observed, RequestRecord
from tests.runtime.routing import Clock

STEP_S = 0.2


@dataclass(eq=False)
class _Asked:
    record: RequestRecord
    prompt: int
    output: int
    done: float = 0.0


@dataclass
class Crowd:
    """`tokens_per_s` for all that run together, `seats` of them at most and `most_per_s` tokens/s for each."""

    pairs: Sequence[tuple[int, int]]
    rate_rps: float
    tokens_per_s: float
    seats: int = 256
    most_per_s: float = 25.0
    seed: int = 0
    streamed: bool = True
    clock: Clock = field(default_factory=lambda: Clock(0.0))
    asked: list[_Asked] = field(default_factory=list)
    under_way: list[_Asked] = field(default_factory=list)

    def watched(self, seconds: float) -> Observed:
        """What a router knows after so long."""
        chance, observed, next_at = random.Random(self.seed), Observed(now=self.clock), 0.0
        while self.clock.seconds < seconds:
            while next_at <= self.clock.seconds:
                self._ask(observed, *chance.choice(self.pairs))
                next_at += chance.expovariate(self.rate_rps)
            self.clock.seconds += STEP_S
            self._run(observed)
        return observed

    def truth(self, window_s: float) -> tuple[float, float]:
        """Mean prompt and output of what arrived within the last seconds."""
        came = [one for one in self.asked if one.record.arrived_at >= self.clock.seconds - window_s]
        return sum(one.prompt for one in came) / len(came), sum(one.output for one in came) / len(came)

    def _ask(self, observed: Observed, prompt: int, output: int) -> None:
        one = _Asked(RequestRecord(self.clock.seconds, streamed=self.streamed), prompt, output)
        one.record.so_far = lambda: (prompt, int(one.done) if self.streamed else 0)
        observed.arrived(one.record)
        self.asked.append(one)
        self.under_way.append(one)

    def _run(self, observed: Observed) -> None:
        running, now = self.under_way[: self.seats], self.clock.seconds
        for one in running:
            one.done += STEP_S * min(self.most_per_s, self.tokens_per_s / len(running))
            record = one.record
            if self.streamed and record.ttft_s is None and one.done >= 1:
                record.ttft_s = now - record.arrived_at
            if one.done >= one.output:
                record.outcome, record.e2e_s, record.so_far = "ok", now - record.arrived_at, None
                record.prompt_tokens, record.output_tokens = one.prompt, one.output
                self.under_way.remove(one)
                observed.finished(record)
