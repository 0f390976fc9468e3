"""What the picture draws, as plain arrays: distributions, attainment over time, and how much replicas are used."""

from dataclasses import dataclass

import numpy as np

from planner.demand import Floats
from planner.deployment import Phase
from planner.evaluate import Outcomes
from planner.replay import Replay
from planner.workload import Slo

POINTS = 2000
"""Points of a distribution's curve, more than a picture can show."""
PER_WINDOW, MOST_WINDOWS = 25, 60
"""Requests in a window of time on average, so that its attainment says something, and the most windows."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Equal windows of time by arrival: their edges (one more), arrivals/s, and the shares that met each target.

    Shares are NaN where nothing arrived.
    """

    edges_s: Floats
    arrival_rps: Floats
    both: Floats
    ttft: Floats
    tpot: Floats


def cumulative(values: Floats, requests: int) -> tuple[Floats, Floats]:
    """Value → share of all `requests` at or below it. Those that never ended (infinite) leave the curve below 1."""
    finite = np.sort(values[np.isfinite(values)])
    ranks = np.unique(np.linspace(0, len(finite) - 1, min(POINTS, len(finite))).astype(int))
    return finite[ranks], (ranks + 1) / max(requests, 1)


def met_targets(found: Outcomes, slo: Slo) -> tuple[np.ndarray[tuple[int], np.dtype[np.bool_]], ...]:
    """Of each request: whether TTFT was met, TPOT, and both, as `planner.evaluate.measure` counts them."""
    ttft, tpot = found.done & (found.ttft_s <= slo.ttft_s), found.done & (found.tpot_s <= slo.tpot_s)
    return ttft, tpot, ttft & tpot


def windows(arrival_s: Floats, found: Outcomes, slo: Slo) -> Windows:
    """Attainment by time of arrival, from the first to the last one; at least one request has arrived."""
    number = int(np.clip(len(arrival_s) // PER_WINDOW, 1, MOST_WINDOWS))
    first, last = float(arrival_s.min()), float(arrival_s.max())
    edges = np.linspace(first, last if last > first else first + 1.0, number + 1)
    place = np.clip(np.searchsorted(edges, arrival_s, side="right") - 1, 0, number - 1)
    arrived = np.bincount(place, minlength=number)
    ttft, tpot, both = (
        np.where(arrived > 0, np.bincount(place, weights=met, minlength=number) / np.maximum(arrived, 1), np.nan)
        for met in met_targets(found, slo)
    )
    return Windows(edges, arrived / np.diff(edges), both, ttft, tpot)


@dataclass(frozen=True, slots=True)
class Use:
    """By replica, how much of it is used in each bucket of `bucket_s`, and in the mean of the run; 1 is all.

    `computing` is the part of the run that it computes, whatever its phase.
    """

    share: Floats
    mean: Floats
    computing: Floats
    bucket_s: float


def use_of(run: Replay, end_s: float) -> Use:
    """Of a prefill replica the part of the time that it computes, of the others the part of their KV that is held."""
    timings = run.timings
    prefill = np.array([phase is Phase.PREFILL for phase in run.phases])
    room = np.maximum(np.array(run.kv_tokens, dtype=np.float64), 1.0)
    busy = timings.busy_s / timings.bucket_s
    share = np.where(prefill[:, None], busy, timings.kv_held / room[:, None])
    mean, computing = (part.sum(axis=1) * timings.bucket_s / end_s for part in (share, busy))
    return Use(np.clip(share, 0, 1), mean, computing, timings.bucket_s)
