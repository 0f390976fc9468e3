"""The highest rate within an SLO that a fleet keeps up: a short search, confirmed by long runs.

A run begins with empty replicas. Where KV or batches fill up slowly, or one unlucky burst starts a backlog that never
clears again, a rate looks fine for minutes and is not sustained. Short runs therefore only bracket the rate; a long
one, scored when the fleet is full, has the last word, and its end must be no worse than the whole of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from planner.choosing.notches import NOTCH, STRIDE, highest_rate, notch_above
from planner.demand import Demand
from planner.evaluate import LONGER, MOST_LONGER, Measures, Part, Run, joined, measured_at, run_at
from planner.workload import Slo

LONG_S, LONG_E2E = 600.0, 15.0
"""A long run's arrivals last so many seconds, and so many times the median request."""
LONG_TTFT = 20.0
"""Times the TTFT target that they last at least, if they go well: less than a tenth too much shows before they end."""
LONG_FEWEST, LONG_MOST = 1000, 20_000
"""Requests of the parts simulated, at least and (where those many times request and target allow) at most."""
MOST_BEYOND = 4.0
"""Rates are tried up to so many times the expected one, or `MOST_LONGER` requests in a run just long enough if that is
more: requests of a few tokens may be served by ten thousands each second, and confirming that would take minutes."""
RUNS = 2
"""Long runs of different seeds that must each meet the SLO: a backlog that one burst starts is a matter of chance."""
APART = 1000
"""Between the seeds of two runs: each part of a fleet has one of its own."""
PART = 0.5
"""Attainment below which no part of a fleet may end, however well the others do: its backlog may grow without end."""
STEADY, LATE = 1 / 2, 2 / 3
"""Shares of a long run after which the fleet is taken to be full, and after which a backlog has had time to show."""


@dataclass(frozen=True, slots=True)
class Sustained:
    """What clients see once the fleet is full, and the least attainment of any run's half, or last third alone; or of a
    part, where one falls far behind."""

    measures: Measures
    least_attainment: float


@dataclass(slots=True)
class Trial:
    """A fleet under test, from the rate expected of it up to the most it may serve. No run is made twice."""

    demand: Demand
    slo: Slo
    parts: Sequence[Part]
    expected_rps: float
    most_rps: float
    seed: int
    _short: dict[float, bool] = field(default_factory=dict)
    _long: dict[tuple[float, int], tuple[Run, float]] = field(default_factory=dict)

    def attains(self, rate_rps: float) -> bool:
        """Does a short run meet the SLO, at a rate that may be tried?"""
        if rate_rps not in self._short:
            self._short[rate_rps] = rate_rps <= self._highest_rps and self._short_run(rate_rps)
        return self._short[rate_rps]

    @property
    def _highest_rps(self) -> float:
        """No rate above it is tried."""
        confirmed_rps = MOST_LONGER / (LONG_TTFT * self.slo.ttft_s * self._distinct)
        worth_trying = max(confirmed_rps, MOST_BEYOND * self.expected_rps)
        return min(self.most_rps, worth_trying)

    def seeming_rps(self) -> float:
        """The highest rate that short runs attain, which is rather too much than too little."""
        return highest_rate(self.attains, self.expected_rps, self._highest_rps)

    def goodput_rps(self, beyond_rps: float = 0.0) -> float:
        """The highest rate that is sustained: that of the first long run, unless another one misses there.

        Where short runs find no more than `beyond_rps`, which is as good as lost, their figure is not confirmed.
        """
        seeming = self.seeming_rps()
        if seeming <= beyond_rps:
            return seeming
        first = highest_rate(lambda rate: self._holds(rate, 0), seeming / NOTCH**STRIDE, seeming)
        return highest_rate(self.sustains, first, first, stride=1)

    def exceeds(self, rate_rps: float) -> bool:
        """Is the next notch above a rate attained, and sustained as well?"""
        above = notch_above(rate_rps)
        return self.attains(above) and self.sustains(above)

    def sustains(self, rate_rps: float) -> bool:
        return all(self._holds(rate_rps, number) for number in range(RUNS))

    def sustained(self, rate_rps: float) -> Sustained:
        """Long runs at a rate, up to the first that misses the target."""
        made = [self._run(rate_rps, 0)]
        while len(made) < RUNS and made[-1][1] >= self.slo.attainment:
            made.append(self._run(rate_rps, len(made)))
        whole = joined([run for run, _ in made])
        return Sustained(whole.measured(self.slo, since=STEADY), min(least for _, least in made))

    def _short_run(self, rate_rps: float) -> bool:
        found = measured_at(rate_rps, self.demand, self.slo, self.parts, seed=self.seed)
        return found.slo_attainment >= self.slo.attainment

    def _holds(self, rate_rps: float, number: int) -> bool:
        return self._run(rate_rps, number)[1] >= self.slo.attainment

    def _run(self, rate_rps: float, number: int) -> tuple[Run, float]:
        """A long run and its least attainment. The others are as long as the first."""
        key = rate_rps, number
        if key not in self._long:
            seconds = self._run(rate_rps, 0)[0].seconds if number else 0.0
            self._long[key] = self._made(rate_rps, seconds, number) if number else self._first(rate_rps)
        return self._long[key]

    def _first(self, rate_rps: float) -> tuple[Run, float]:
        """Made longer while it goes well and requests turn out to take long, or may."""
        distinct_rps = rate_rps * self._distinct
        seconds = float(np.clip(LONG_S, LONG_FEWEST / distinct_rps, LONG_MOST / distinct_rps))
        patient_s = min(LONG_TTFT * self.slo.ttft_s, MOST_LONGER / distinct_rps)
        run, least = self._made(rate_rps, seconds, 0)
        while seconds < (enough_s := max(patient_s, self._settled_s(run))) and least >= self.slo.attainment:
            seconds = min(LONGER * seconds, enough_s)
            run, least = self._made(rate_rps, seconds, 0)
        return run, least

    @property
    def _distinct(self) -> float:
        """The share of all requests that is simulated: of parts that are alike one is."""
        return sum(part.share for part in self.parts)

    def _settled_s(self, run: Run) -> float:
        return LONG_E2E * run.measured(self.slo, since=STEADY).e2e_p50_s

    def _made(self, rate_rps: float, seconds: float, number: int) -> tuple[Run, float]:
        run = run_at(rate_rps, self.demand, self.parts, seconds, seed=self.seed + number * APART)
        least = min(run.measured(self.slo, since=share).slo_attainment for share in (STEADY, LATE))
        least_part = run.least_of_parts(self.slo, since=LATE)
        return run, least if least_part >= PART else min(least, least_part)


def sustained_at(rate_rps: float, demand: Demand, slo: Slo, parts: Sequence[Part], *, seed: int) -> Sustained:
    """Long runs at a rate, up to the first that misses the target; longer ones where requests turn out to take long."""
    return Trial(demand, slo, parts, rate_rps, rate_rps, seed).sustained(rate_rps)


def goodput(
    demand: Demand, slo: Slo, parts: Sequence[Part], expected_rps: float, most_rps: float, *, seed: int
) -> float:
    """The highest rate up to `most_rps` that is sustained, searched from the expected one on; 0 if none is."""
    return Trial(demand, slo, parts, expected_rps, most_rps, seed).goodput_rps()
