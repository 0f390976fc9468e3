"""What became of a load's requests, so far or in the end, and the scores of that: by the planner's own scorer."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from planner.demand import Floats
from planner.evaluate import Measures, Outcomes, measure
from planner.replay import arrivals_span_s
from planner.simulation.scenario import Requests
from planner.workload import Slo
from thunderctl.bench.load import Answer


@dataclass(slots=True)
class Tally:
    """One entry a request, in order of arrival; seconds of the run's clock, nan for what has not come about.

    `first_s` and `last_s` are of the first and last token, infinite for a request that failed; `causes` say why some
    did. A request counts from when it was due, however late it was sent: what is held up has held up its client too.
    """

    requests: Requests
    slo: Slo
    sent_s: Floats
    first_s: Floats
    last_s: Floats
    causes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, requests: Requests, slo: Slo) -> Self:
        """Of requests none of which was sent yet."""
        sent_s, first_s, last_s = np.full((3, len(requests.arrival_s)), np.nan)
        return cls(requests, slo, sent_s, first_s, last_s)

    def sent(self, number: int, at_s: float) -> None:
        self.sent_s[number] = at_s

    def answered(self, number: int, answer: Answer) -> None:
        """The answer's times count from when the request was due."""
        due_s = self.requests.arrival_s[number]
        self.first_s[number], self.last_s[number] = due_s + answer.first_s, due_s + answer.last_s

    def failed(self, number: int, cause: str) -> None:
        self.first_s[number] = self.last_s[number] = np.inf
        self.causes[cause] += 1

    @property
    def asked(self) -> int:
        return len(self.requests.arrival_s)

    @property
    def begun(self) -> int:
        return int(np.isfinite(self.sent_s).sum())

    @property
    def under_way(self) -> int:
        """Sent, and neither answered nor failed."""
        return self.begun - int((~np.isnan(self.last_s)).sum())

    @property
    def late_s(self) -> float:
        """The longest that a request was sent after it was due: how far this client was behind."""
        late = self.sent_s - self.requests.arrival_s
        return float(np.nanmax(late)) if self.begun else 0.0

    @property
    def begun_requests(self) -> Requests:
        """Those that were sent, as they were due."""
        there, asked = np.isfinite(self.sent_s), self.requests
        cached = None if asked.cached is None else asked.cached[there]
        return Requests(asked.arrival_s[there], asked.prompt[there], asked.output[there], cached)

    @property
    def rate_rps(self) -> float:
        """Of the arrivals so far; 0 where there is no telling."""
        span_s = arrivals_span_s(self.begun_requests)
        return self.begun / span_s if span_s else 0.0

    @property
    def measures(self) -> Measures:
        """Of the requests that have ended, those that failed included; they met nothing."""
        ended = ~np.isnan(self.last_s)
        arrival_s, output = self.requests.arrival_s[ended], self.requests.output[ended]
        first_s, last_s = self.first_s[ended], self.last_s[ended]
        done = np.isfinite(last_s)
        with np.errstate(invalid="ignore"):
            tpot_s = np.where(done & (output > 1), (last_s - first_s) / np.maximum(output - 1, 1), 0.0)
        found = Outcomes(first_s - arrival_s, tpot_s, last_s - arrival_s, output)
        begins_s = float(np.min(self.requests.arrival_s, initial=np.inf))
        duration_s = max(float(np.max(last_s[done], initial=0.0)) - begins_s, 0.0) if done.any() else 0.0
        return measure(found, self.slo, duration_s, arrivals_span_s(self.begun_requests))
