"""The rate at which one replica still meets the SLO, in each phase: queueing on top of the cost model.

Prefill is a queue of passes, whose wait is exponential beyond its chance of being empty (`queueing.py` beside it).
Decode holds a random number of requests; the batch keeps room for its fluctuation (square-root staffing). A mixed
replica does both, its passes carrying pieces of prompts up to the token budget beside the tokens of its batch.

Arrivals are taken to be as bursty as the whole stream. A router that deals requests out in rotation makes those of a
replica more even, by how much depends on the plan: these rates err on the safe side, and simulation has the last word.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

import numpy as np

from planner.batching import MAX_SEQUENCES, TOKENS_PER_PASS
from planner.costmodel.layer import Amount, Seconds
from planner.demand import Demand, Floats
from planner.parallel.queueing import peakedness, waits_within, work_within
from planner.workload import Slo

UTILISATIONS = 1 / (1 + np.exp(-np.linspace(-np.log(49), np.log(49), 33)))
"""From 0.02 to 0.98, closest at both ends: what is served there changes fastest with it."""
BATCHES = np.geomspace(0.1, MAX_SEQUENCES, 120)
HIGHEST_TARGET = 0.995
"""An exponential tail never reaches 1; simulation does."""
DECODE_MISSES = 0.2
"""Of the requests that may miss their targets in a split plan, the part left to decode."""
LEAST_GAIN = 1e-9
"""Steps/s that a pass without prompts gains at least on one with them, where both take as long."""


class Turning(Protocol):
    """All that a rate needs to know of a replica: a `Pace`, or what no pace exceeds."""

    @property
    def pp(self) -> int: ...

    def turn_s(self, batch: Amount, context: Amount, tokens: Amount = 0.0, pairs: Amount = 0.0) -> Seconds: ...

    def decode_step_s(self, batch: Amount, context: Amount) -> Seconds: ...


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


@dataclass(frozen=True, slots=True)
class _Passes:
    """What each prompt (columns) costs beside each decoding batch (rows).

    `pieces` passes, of which the last may be shared with the next prompt; `turn_s` is the time in which a pass with
    such a piece goes through all stages of the pipeline.
    """

    pieces: Floats
    turn_s: Floats
    pp: int

    @property
    def service_s(self) -> Floats:
        """How long a prompt keeps the first stage from the next one."""
        return self.pieces * self.turn_s / self.pp

    @property
    def latency_s(self) -> Floats:
        """Until its last piece is through the last stage."""
        return self.service_s + self.turn_s * (self.pp - 1) / self.pp

    @property
    def mean_turn_s(self) -> Floats:
        """Mean over passes that carry prompts, by batch."""
        return np.asarray((self.pieces * self.turn_s).sum(axis=1) / self.pieces.sum(axis=1))


def prefill_rps(pace: Turning, demand: Demand, slo: Slo, hop_s: Floats, kv_tokens: float = np.inf) -> float:
    """Prompts/s of which enough see their first token in time, after a hop of `hop_s` and one decode step.

    A prompt holds its KV from its first pass until the pass after its last has begun, while it is copied out: what has
    room at once limits how many pass through in that time (Little's law), as the stages limit it.
    """
    passes = _passes(pace, demand, np.zeros(1))
    busy = _busiest(passes, demand, slo, hop_s, targets(slo).prefill)
    held = float((demand.prompt * (passes.latency_s + passes.turn_s / pace.pp)).mean())
    return busy * min(1 / float(passes.service_s.mean()), kv_tokens / held)


def busiest(pace: Turning, demand: Demand, slo: Slo, target: float) -> float:
    """The utilisation at which prompts still see their first token in time, without any hop, as often as `target`."""
    return _busiest(_passes(pace, demand, np.zeros(1)), demand, slo, np.zeros(1), target)


def decode_rps(pace: Turning, demand: Demand, slo: Slo, kv_tokens: int) -> float:
    """Requests/s of the largest batch that steps within TPOT and whose KV fits, both with room for fluctuation."""
    step, fits = _decode_batches(pace, demand, slo, kv_tokens)
    rates = BATCHES / (demand.output_mean * step)
    return float(np.max(rates * fits))


def mixed_rps(pace: Turning, demand: Demand, slo: Slo, kv_tokens: int) -> float:
    """Requests/s that one replica both prefills, in pieces, and decodes, meeting TTFT and TPOT together."""
    batch, held_up = _mixed_batch(pace, demand)
    most = with_margin(batch, demand, slo)
    passes = _passes(pace, demand, batch)
    step = np.asarray(pace.decode_step_s(most, most * demand.context))
    rate = UTILISATIONS / passes.service_s.mean(axis=1)
    slack = slo.ttft_s - passes.latency_s - step[:, None]
    first = waits_within(slack, passes.service_s, UTILISATIONS, demand.arrival_variation)
    later = _steps_within(demand, slo, step, rate, passes, held_up)
    fits = _kv_fits(demand, slo, batch, kv_tokens) & (most <= MAX_SEQUENCES)
    attained = np.where(fits, (first * later).mean(axis=1), 0.0)
    busy = _last_reaching(UTILISATIONS, attained, targets(slo).mixed)
    return float(np.interp(busy, UTILISATIONS, rate)) if busy > 0 else 0.0


def _busiest(passes: _Passes, demand: Demand, slo: Slo, hop_s: Floats, target: float) -> float:
    slack = slo.ttft_s - passes.latency_s - hop_s - slo.tpot_s
    attained = waits_within(slack, passes.service_s, UTILISATIONS, demand.arrival_variation).mean(axis=1)
    return _last_reaching(UTILISATIONS, attained, target)


def _passes(pace: Turning, demand: Demand, batch: Floats) -> _Passes:
    """Each prompt in as few passes as the token budget allows, beside each of these decoding batches."""
    taken = pieces(pace.pp, demand, batch)
    each = pace.pp / taken
    beside = batch[:, None], batch[:, None] * demand.context
    return _Passes(taken, np.asarray(pace.turn_s(*beside, demand.computed * each, demand.pairs * each)), pace.pp)


def pieces(pp: int, demand: Demand, batch: Floats) -> Floats:
    """Passes that each prompt (columns) takes beside a decoding batch (rows)."""
    room = TOKENS_PER_PASS - batch / pp
    return np.maximum(demand.computed / room[:, None], 1.0)


def _decode_batches(pace: Turning, demand: Demand, slo: Slo, kv_tokens: int) -> tuple[Floats, Floats]:
    """Step time of every batch in BATCHES, and 1 where that batch may be run."""
    most = with_margin(BATCHES, demand, slo)
    step = np.asarray(pace.decode_step_s(BATCHES, BATCHES * demand.context))
    worst = np.asarray(pace.decode_step_s(most, most * demand.context))
    fits = (worst <= slo.tpot_s) & (most <= MAX_SEQUENCES) & _kv_fits(demand, slo, BATCHES, kv_tokens)
    return step, fits.astype(np.float64)


def with_margin(batch: Floats, demand: Demand, slo: Slo) -> Floats:
    """The batch that is exceeded too rarely to matter where this is the mean; never less than one request."""
    spread = np.sqrt(batch * peakedness(demand.arrival_variation))
    return np.maximum(1.0, batch + _quantile(slo) * spread)


def _kv_fits(
    demand: Demand, slo: Slo, batch: Floats, kv_tokens: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.asarray(kv_held(demand, slo, batch) <= kv_tokens)


def kv_held(demand: Demand, slo: Slo, batch: Floats) -> Floats:
    """Tokens of KV that batches of these means hold, exceeded too rarely to matter."""
    excess = (peakedness(demand.arrival_variation) - 1) * demand.held**2
    return np.asarray(batch * demand.held + _quantile(slo) * np.sqrt(batch * (demand.held_square + excess)))


def _quantile(slo: Slo) -> float:
    return NormalDist().inv_cdf(targets(slo).decode)


def _mixed_batch(pace: Turning, demand: Demand) -> tuple[Floats, Floats]:
    """By utilisation U: the mean number of decoding requests, and how many times its work a pass with prompts holds up.

    Of the passes of a batch b, x = b pieces / (output pp) carry prompts, by Little's law. In a pipeline the pp passes
    of a turn wait for each other, so a turn is long if any of them carries one: y = 1 - (1 - x)^pp of them, of which
    only x is work of prompts. With a turn r times as long that brings U = x r / (1 - y + y r), and y / x for the other.
    """
    each = pace.pp / pieces(pace.pp, demand, BATCHES).mean(axis=1)
    beside = BATCHES, BATCHES * demand.context
    turn = np.asarray(pace.turn_s(*beside, demand.computed.mean() * each, demand.pairs.mean() * each))
    slower = turn / np.asarray(pace.decode_step_s(*beside))
    part = np.minimum(BATCHES / (demand.output_mean * each), 1.0)
    long = 1 - (1 - part) ** pace.pp
    busy = np.append(0.0, np.maximum.accumulate(part * slower / (1 - long + long * slower)))
    batch = np.interp(UTILISATIONS, busy, np.append(0.0, BATCHES), right=4.0 * MAX_SEQUENCES)
    held_up = np.interp(UTILISATIONS, busy, np.append(float(pace.pp), long / part))
    return np.asarray(batch), np.asarray(held_up)


def _steps_within(demand: Demand, slo: Slo, step: Floats, rate: Floats, passes: _Passes, held_up: Floats) -> Floats:
    """Chance that a request's later tokens come at TPOT or better, by utilisation and request.

    In the time T it may take, W seconds go to turns that carry prompts, which advance it by one token each instead of
    one in every `step`. W is the prefill work that arrives in T, and that arrived while its own prompt was computed,
    `held_up` times.
    """
    tokens = np.maximum(demand.output - 1, 0)[None, :]
    window = np.maximum(tokens, 1) * slo.tpot_s
    gain = np.maximum(1 / step - 1 / passes.mean_turn_s, LEAST_GAIN)
    allowed = (window / step[:, None] - tokens) / gain[:, None]
    arrivals = (window + passes.latency_s) * rate[:, None]
    within = work_within(allowed, arrivals, passes.service_s * held_up[:, None], demand.arrival_variation)
    return np.where(tokens == 0, 1.0, within)


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
