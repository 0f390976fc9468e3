"""The rate at which one replica still meets the SLO, in each phase: queueing on top of the cost model.

Prefill is an M/G/1 queue of passes, whose wait is exponential beyond its chance of being empty (the usual
heavy-traffic form, with the mean of Pollaczek-Khinchine). Decode holds a Poisson number of requests; the batch keeps
room for its fluctuation (square-root staffing). A mixed replica does both, its passes carrying chunks of prompts.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from planner.demand import Demand, Floats
from planner.perfmodel import Pace
from planner.workload import Slo

MAX_SEQUENCES = 256
"""Sequences that an engine decodes together at most (`max_num_seqs`)."""
UTILISATIONS = np.linspace(0.02, 0.98, 49)
BATCHES = np.geomspace(0.1, MAX_SEQUENCES, 120)
HIGHEST_TARGET = 0.995
"""An exponential tail never reaches 1; simulation does."""
DECODE_MISSES = 0.2
"""Of the requests that may miss their targets in a split plan, the part left to decode."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The SLO's attainment as each phase must reach it, so that both together reach it."""

    prefill: float
    decode: float
    mixed: float


def targets(slo: Slo) -> Targets:
    whole = min(slo.attainment, HIGHEST_TARGET)
    decode = 1 - (1 - whole) * DECODE_MISSES
    return Targets(prefill=whole / decode, decode=decode, mixed=whole)


def prefill_rps(pace: Pace, demand: Demand, slo: Slo, hop_s: Floats) -> float:
    """Prompts/s of which enough see their first token in time, after a hop of `hop_s` and one decode step."""
    interval = np.asarray(pace.prefill_interval_s(demand.prompt))
    slack = slo.ttft_s - np.asarray(pace.prefill_s(demand.prompt)) - hop_s - slo.tpot_s
    attained = _waits_within(slack, interval, UTILISATIONS).mean(axis=1)
    busy = _last_reaching(UTILISATIONS, attained, targets(slo).prefill)
    return busy / float(interval.mean())


def decode_rps(pace: Pace, demand: Demand, slo: Slo, kv_tokens: int) -> float:
    """Requests/s of the largest batch that steps within TPOT and whose KV fits, both with room for fluctuation."""
    step, fits = _decode_batches(pace, demand, slo, kv_tokens)
    rates = BATCHES / (demand.output_mean * step)
    return float(np.max(rates * fits))


def mixed_rps(pace: Pace, demand: Demand, slo: Slo, kv_tokens: int) -> float:
    """Requests/s that one replica both prefills, in chunks, and decodes, meeting TTFT and TPOT together."""
    batch = _mixed_batch(pace, demand)
    context = batch * demand.context
    fused = np.asarray(pace.chunked_step_s(batch, context))
    step = np.asarray(pace.decode_step_s(_with_margin(batch, slo), _with_margin(batch, slo) * demand.context))
    slowed = (fused / pace.chunk_s)[:, None]
    service = np.asarray(pace.prefill_interval_s(demand.prompt))[None, :] * slowed
    rate = UTILISATIONS / service.mean(axis=1)
    slack = slo.ttft_s - np.asarray(pace.prefill_s(demand.prompt))[None, :] * slowed - step[:, None]
    first = _waits_within_each(slack, service, UTILISATIONS)
    later = _steps_within(demand, slo, step, fused, rate, service)
    fits = _kv_fits(demand, slo, batch, kv_tokens) & (_with_margin(batch, slo) <= MAX_SEQUENCES)
    attained = np.where(fits, (first * later).mean(axis=1), 0.0)
    busy = _last_reaching(UTILISATIONS, attained, targets(slo).mixed)
    return float(np.interp(busy, UTILISATIONS, rate)) if busy > 0 else 0.0


def _decode_batches(pace: Pace, demand: Demand, slo: Slo, kv_tokens: int) -> tuple[Floats, Floats]:
    """Step time of every batch in BATCHES, and 1 where that batch may be run."""
    most = _with_margin(BATCHES, slo)
    step = np.asarray(pace.decode_step_s(BATCHES, BATCHES * demand.context))
    worst = np.asarray(pace.decode_step_s(most, most * demand.context))
    fits = (worst <= slo.tpot_s) & (most <= MAX_SEQUENCES) & _kv_fits(demand, slo, BATCHES, kv_tokens)
    return step, fits.astype(np.float64)


def _with_margin(batch: Floats, slo: Slo) -> Floats:
    """The batch that a Poisson number with this mean exceeds too rarely to matter; never less than one request."""
    return np.maximum(1.0, batch + _quantile(slo) * np.sqrt(batch))


def _kv_fits(
    demand: Demand, slo: Slo, batch: Floats, kv_tokens: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    held = batch * demand.held + _quantile(slo) * np.sqrt(batch * demand.held_square)
    return np.asarray(held <= kv_tokens)


def _quantile(slo: Slo) -> float:
    return NormalDist().inv_cdf(targets(slo).decode)


def _mixed_batch(pace: Pace, demand: Demand) -> Floats:
    """Mean number of decoding requests at each utilisation, by Little's law, from below: a few rounds suffice."""
    prefill = float(np.mean(pace.prefill_interval_s(demand.prompt)))
    batch = np.zeros_like(UTILISATIONS)
    for _ in range(12):
        context = batch * demand.context
        fused = np.asarray(pace.chunked_step_s(batch, context))
        rate = UTILISATIONS / (prefill * fused / pace.chunk_s)
        speed = UTILISATIONS / fused + (1 - UTILISATIONS) / np.asarray(pace.decode_step_s(batch, context))
        batch = np.minimum(rate * demand.output_mean / speed, 4.0 * MAX_SEQUENCES)
    return batch


def _steps_within(demand: Demand, slo: Slo, step: Floats, fused: Floats, rate: Floats, service: Floats) -> Floats:
    """Chance that a request's later tokens come at TPOT or better, by utilisation and request.

    In the time T it may take, W seconds go to passes that carry a chunk, which advance it by a token in `fused`
    instead of in `step`. W is the prefill work that arrives in T: compound Poisson, taken as normal.
    """
    tokens = np.maximum(demand.output - 1, 0)[None, :]
    window = tokens * slo.tpot_s
    gain = 1 / step - 1 / fused
    allowed = (window / step[:, None] - tokens) / gain[:, None]
    mean = window * (rate * service.mean(axis=1))[:, None]
    spread = np.sqrt(window * (rate * (service**2).mean(axis=1))[:, None])
    certain = tokens == 0
    return np.where(certain, 1.0, _normal_cdf((allowed - mean) / np.where(certain, 1.0, spread)))


def _waits_within(slack: Floats, service: Floats, busy: Floats) -> Floats:
    """Chance of waiting at most `slack`, by utilisation and request, in an M/G/1 queue of `service` times."""
    return _waits_within_each(slack[None, :], service[None, :], busy)


def _waits_within_each(slack: Floats, service: Floats, busy: Floats) -> Floats:
    mean_wait = (service**2).mean(axis=1) / (2 * service.mean(axis=1) * (1 - busy))
    waits = busy[:, None] * np.exp(-np.maximum(slack, 0) / mean_wait[:, None])
    return np.where(slack >= 0, 1 - waits, 0.0)


def _last_reaching(grid: Floats, attained: Floats, target: float) -> float:
    """The highest point of `grid` at which `attained` reaches `target`, interpolated; 0 if none does."""
    reached = np.flatnonzero(attained >= target)
    if not len(reached):
        return 0.0
    i = int(reached[-1])
    if i + 1 == len(grid):
        return float(grid[i])
    part = (attained[i] - target) / (attained[i] - attained[i + 1])
    return float(grid[i] + part * (grid[i + 1] - grid[i]))


def _normal_cdf(x: Floats) -> Floats:
    """To about 2e-4 (Page's approximation)."""
    return np.asarray(0.5 * (1 + np.tanh(0.7978846 * x * (1 + 0.044715 * x * x))))
