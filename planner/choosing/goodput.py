"""The highest rate within an SLO that a fleet keeps up: a short search, confirmed by long runs.

A run begins with empty replicas. Where KV or batches fill up slowly, or one unlucky burst starts a backlog that never
clears again, a rate looks fine for minutes and is not sustained. Short runs therefore only bracket the rate; a long
one, scored when the fleet is full, has the last word, and its end must be no worse than the whole of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from planner.demand import Demand
from planner.evaluate import Measures, Part, Run, joined, measured_at, run_at
from planner.workload import Slo

STEP, HALVINGS = 1.15, 2
"""How far the rate is raised or lowered until attainment crosses its target, and how often that step is halved."""
HOPELESS = 0.05
"""Below this part of the expected rate the search gives up."""
LOWERED, CLOSE = 0.06, 0.04
"""Part of a rate that it is first lowered by where it is not sustained, then twice that; and how far the highest rate
that is sustained and the lowest that is not may be apart in the end."""
LONG_S, LONG_E2E = 600.0, 15.0
"""A long run's arrivals last so many seconds, and so many times the median request."""
LONG_FEWEST, LONG_MOST = 1000, 20_000
"""Requests of the parts simulated, at least and (where that many times the median request allows) at most."""
RUNS = 2
"""Long runs of different seeds that must each meet the SLO: a backlog that one burst starts is a matter of chance."""
APART = 1000
"""Between the seeds of two runs: each part of a fleet has one of its own."""
STEADY, LATE = 1 / 2, 2 / 3
"""Shares of a long run after which the fleet is taken to be full, and after which a backlog has had time to show."""


@dataclass(frozen=True, slots=True)
class Sustained:
    """What clients see once the fleet is full, and the least attainment of any run's half, or last third alone."""

    measures: Measures
    least_attainment: float


def sustained_at(rate_rps: float, demand: Demand, slo: Slo, parts: Sequence[Part], *, seed: int) -> Sustained:
    """Long runs at a rate, up to the first that misses the target; longer ones where requests turn out to take long."""
    distinct_rps = rate_rps * sum(part.share for part in parts)
    seconds = float(np.clip(LONG_S, LONG_FEWEST / distinct_rps, LONG_MOST / distinct_rps))
    first = run_at(rate_rps, demand, parts, seconds, seed=seed)
    e2e_s = first.measured(slo, since=STEADY).e2e_p50_s
    if seconds < LONG_E2E * e2e_s and _least(first, slo) >= slo.attainment:
        seconds = LONG_E2E * e2e_s
        first = run_at(rate_rps, demand, parts, seconds, seed=seed)
    runs = [first]
    while len(runs) < RUNS and _least(runs[-1], slo) >= slo.attainment:
        runs.append(run_at(rate_rps, demand, parts, seconds, seed=seed + len(runs) * APART))
    return Sustained(joined(runs).measured(slo, since=STEADY), min(_least(run, slo) for run in runs))


def goodput(
    demand: Demand,
    slo: Slo,
    parts: Sequence[Part],
    expected_rps: float,
    most_rps: float,
    *,
    beyond_rps: float = 0.0,
    seed: int,
) -> float:
    """The highest rate up to `most_rps` that is sustained, searched from the expected one on; 0 if none is.

    Where short runs find no more than `beyond_rps`, which is as good as lost, their figure is not confirmed.
    """

    def attains(rate_rps: float) -> bool:
        return measured_at(rate_rps, demand, slo, parts, seed=seed).slo_attainment >= slo.attainment

    def sustains(rate_rps: float) -> bool:
        return sustained_at(rate_rps, demand, slo, parts, seed=seed).least_attainment >= slo.attainment

    found = highest_rate(attains, expected_rps, most_rps)
    return lowered_rate(sustains, found, expected_rps) if found > beyond_rps else found


def highest_rate(attains: Callable[[float], bool], start_rps: float, most_rps: float) -> float:
    """The highest rate up to `most_rps` that attains its target: bracketed from `start_rps` on, then halved."""
    low = high = min(start_rps, most_rps)
    if attains(low):
        while low < most_rps and attains(high := min(low * STEP, most_rps)):
            low = high
    else:
        while not attains(low := high / STEP):
            high = low
            if low < start_rps * HOPELESS:
                return 0.0
    for _ in range(HALVINGS if low < high else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if attains(middle) else (low, middle)
    return low


def lowered_rate(sustains: Callable[[float], bool], found_rps: float, expected_rps: float) -> float:
    """The rate found or the highest below it that is sustained, to within CLOSE; 0 if none is.

    Where much less was expected than found, that is tried first: short runs find too much rather than too little.
    """
    low = high = found_rps
    if found_rps * HOPELESS < expected_rps < found_rps * (1 - LOWERED):
        low = expected_rps
    step = LOWERED
    while low > 0 and not sustains(low):
        low, high, step = low * (1 - step), low, min(2 * step, 0.5)
        if low < found_rps * HOPELESS:
            return 0.0
    while high > low * (1 + CLOSE):
        middle = (low + high) / 2
        low, high = (middle, high) if sustains(middle) else (low, middle)
    return low


def _least(run: Run, slo: Slo) -> float:
    return min(run.measured(slo, since=share).slo_attainment for share in (STEADY, LATE))
