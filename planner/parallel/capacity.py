"""The rate at which one replica still meets the SLO, in each phase: queueing on top of the cost model.

Prefill is a queue of passes, whose wait is exponential beyond its chance of being empty (`queueing.py` beside it).
Decode holds a random number of requests; the batch keeps room for its fluctuation (square-root staffing). A mixed
replica does both, its passes carrying pieces of prompts up to the token budget beside the tokens of its batch.

A router that deals requests out in rotation makes those of a replica more even, the more the smaller its part of the
fleet's rate (`Demand.variation_at`). What comes to a decode replica has been through prefill ones, whose passes bunch
it again: there arrivals are taken to be as bursty as the whole stream.
"""

from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Protocol

import numpy as np

from planner.batching import MAX_SEQUENCES, TOKENS_PER_PASS
from planner.costmodel.layer import Amount, Seconds
from planner.demand import Demand, Floats
from planner.parallel.queueing import Variation, peakedness, waits_within, work_within
from planner.workload import Slo

UTILISATIONS = 1 / (1 + np.exp(-np.linspace(-np.log(49), np.log(49), 33)))
"""From 0.02 to 0.98, closest at both ends: what is served there changes fastest with it."""
BATCHES = np.geomspace(0.1, MAX_SEQUENCES, 120)
HIGHEST_TARGET = 0.995
"""An exponential tail never reaches 1; simulation does."""
LEAST_STIFFNESS = 0.02
"""Of the rate of a replica that is nearly saturated, by its batch."""
BEYOND = 4.0
"""Times the largest batch there can be, to which batches go on growing with utilisation: rates can be interpolated."""
DECODE_MISSES = 0.2
"""Of the requests that may miss their targets in a split plan, the part left to decode."""
LONG_ORDER = 6.0
"""The generalised mean of this order is about what a tenth of all turns exceed; unlike a quantile it is smooth."""
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

    def turn_norms_s(self, order: float) -> tuple[Floats, Floats]:
        """The mean over passes that carry prompts, and their generalised mean of an `order`, by batch."""
        weight = self.pieces / self.pieces.sum(axis=1)[:, None]
        mean, norm = (weight * self.turn_s).sum(axis=1), (weight * self.turn_s**order).sum(axis=1) ** (1 / order)
        return np.asarray(mean), np.asarray(norm)


def prefill_rps(pace: Turning, demand: Demand, slo: Slo, hop_s: Floats, kv_tokens: float = np.inf) -> float:
    """Prompts/s of which enough see their first token in time, after a hop of `hop_s` and one decode step.

    A prompt holds its KV from its first pass until the pass after its last has begun, while it is copied out: what has
    room at once limits how many pass through in that time (Little's law), as the stages limit it.
    """
    passes = _passes(pace, demand, np.zeros(1))
    shared = UTILISATIONS[:, None] * _shared_s(pace, passes, demand)
    slack = slo.ttft_s - passes.latency_s - shared - hop_s - slo.tpot_s
    busy = _busiest(passes, demand, slack, targets(slo).prefill)
    held = float((demand.prompt * (passes.latency_s + passes.turn_s / pace.pp)).mean())
    return busy * min(1 / float(passes.service_s.mean()), kv_tokens / held)


def busiest(pace: Turning, demand: Demand, slo: Slo, target: float) -> float:
    """The utilisation at which prompts still see their first token in time as often as `target` if nothing but waiting
    for each other delays them, and they come as evenly as they can."""
    even = demand if not demand.fleet_rps else replace(demand, fleet_rps=np.inf)
    passes = _passes(pace, demand, np.zeros(1))
    return _busiest(passes, even, slo.ttft_s - passes.latency_s, target)


def decode_rps(pace: Turning, demand: Demand, slo: Slo, kv_tokens: int) -> float:
    """Requests/s of the largest batch that steps within TPOT and whose KV fits, both with room for fluctuation."""
    step, fits = _decode_batches(pace, demand, slo, kv_tokens)
    rates = BATCHES / (demand.output_mean * step)
    return float(np.max(rates * fits))


def mixed_rps(pace: Turning, demand: Demand, slo: Slo, kv_tokens: int) -> float:
    """Requests/s that one replica both prefills, in pieces, and decodes, meeting TTFT and TPOT together."""
    batch = _mixed_batch(pace, demand)
    passes = _passes(pace, demand, batch)
    rate = UTILISATIONS / passes.service_s.mean(axis=1)
    variation = demand.variation_at(rate)
    most = with_margin(batch, demand, slo, variation)
    step = np.asarray(pace.decode_step_s(most, most * demand.context))
    slack = slo.ttft_s - passes.latency_s - step[:, None]
    first = waits_within(slack, passes.service_s, UTILISATIONS, variation)
    later = _steps_within(demand, slo, step, _full_turn_s(pace, demand, batch), rate, passes)
    held = kv_held(demand, slo, batch, variation, _swing(batch, rate))
    full = np.maximum(held / kv_tokens, most / MAX_SEQUENCES)
    attained = (first * later).mean(axis=1)
    busy = _last_reaching(UTILISATIONS, attained, targets(slo).mixed)
    with_room = np.exp(np.interp(0.0, np.log(full), np.log(rate), left=-np.inf, right=np.inf))
    return min(float(np.interp(busy, UTILISATIONS, rate)), float(with_room)) if busy > 0 else 0.0


def _busiest(passes: _Passes, demand: Demand, slack_s: Floats, target: float) -> float:
    variation = demand.variation_at(UTILISATIONS / float(passes.service_s.mean()))
    attained = waits_within(slack_s, passes.service_s, UTILISATIONS, variation).mean(axis=1)
    return _last_reaching(UTILISATIONS, attained, target)


def _shared_s(pace: Turning, passes: _Passes, demand: Demand) -> Floats:
    """How much later a prompt's last pass ends if prompts behind it fill that pass up, as they do where any wait."""
    computed, pairs = demand.computed / passes.pieces, demand.pairs / passes.pieces
    filled = pairs + (TOKENS_PER_PASS - computed) ** 2
    full_s = np.asarray(pace.turn_s(0.0, 0.0, np.full_like(computed, pace.pp * TOKENS_PER_PASS), pace.pp * filled))
    return np.asarray(full_s - passes.turn_s + (np.ceil(passes.pieces) - passes.pieces) * full_s / pace.pp)


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
    fits = (worst <= slo.tpot_s) & (most <= MAX_SEQUENCES) & (kv_held(demand, slo, BATCHES) <= kv_tokens)
    return step, fits.astype(np.float64)


def with_margin(batch: Floats, demand: Demand, slo: Slo, variation: Variation | None = None) -> Floats:
    """The batch that is exceeded too rarely to matter where this is the mean; never less than one request.

    `variation` is the ca² of what comes to each batch, by default that of all arrivals.
    """
    spread = np.sqrt(batch * peakedness(demand.arrival_variation if variation is None else variation))
    return np.maximum(1.0, batch + _quantile(slo) * spread)


def _swing(batch: Floats, rate: Floats) -> Floats:
    """How many times the variance of a batch is that of one whose requests stay as long however many they are.

    Requests leave a batch b at r(b) = b / T(b). Where those that are one too many are worked off slowly, as d r / d b
    says, they pile up: the variance is b / (d ln r / d ln b), to first order.
    """
    stiffness = np.diff(np.log(rate)) / np.maximum(np.diff(np.log(batch)), LEAST_GAIN)
    return np.asarray(1 / np.clip(np.append(stiffness, stiffness[-1]), LEAST_STIFFNESS, 1.0))


def kv_held(
    demand: Demand, slo: Slo, batch: Floats, variation: Variation | None = None, swing: Floats | float = 1.0
) -> Floats:
    """Tokens of KV that batches of these means hold, exceeded too rarely to matter; `swing` times their variance."""
    excess = (peakedness(demand.arrival_variation if variation is None else variation) - 1) * demand.context**2
    spread = np.sqrt(batch * (demand.context_square + excess) * swing)
    return np.asarray(batch * demand.context + _quantile(slo) * spread)


def _quantile(slo: Slo) -> float:
    return NormalDist().inv_cdf(targets(slo).decode)


def _mixed_batch(pace: Turning, demand: Demand) -> Floats:
    """The mean number of decoding requests, by utilisation U.

    Of the passes of a batch b, x = b pieces / (output pp) carry prompts, by Little's law. In a pipeline the pp passes
    of a turn wait for each other, so a turn is long if any of them carries one: y = 1 - (1 - x)^pp of them, of which
    only x is work of prompts. With a turn r times as long that brings U = x r / (1 - y + y r).
    """
    each = pace.pp / pieces(pace.pp, demand, BATCHES).mean(axis=1)
    beside = BATCHES, BATCHES * demand.context
    turn = np.asarray(pace.turn_s(*beside, demand.computed.mean() * each, demand.pairs.mean() * each))
    slower = turn / np.asarray(pace.decode_step_s(*beside))
    part = np.minimum(BATCHES / (demand.output_mean * each), 1.0)
    long = 1 - (1 - part) ** pace.pp
    busy = np.append(0.0, np.maximum.accumulate(part * slower / (1 - long + long * slower)))
    beyond = np.clip(UTILISATIONS / busy[-1], 1.0, BEYOND)
    return np.asarray(np.interp(UTILISATIONS, busy, np.append(0.0, BATCHES)) * beyond)


def _full_turn_s(pace: Turning, demand: Demand, batch: Floats) -> Floats:
    """A turn whose passes are all full of prompts, as they are where prompts wait, by utilisation."""
    tokens = TOKENS_PER_PASS * pace.pp - batch
    each = demand.pairs.mean() / demand.computed.mean()
    return np.asarray(pace.turn_s(batch, batch * demand.context, tokens, tokens * each))


def _steps_within(demand: Demand, slo: Slo, step: Floats, full: Floats, rate: Floats, passes: _Passes) -> Floats:
    """Chance that a request's later tokens come at TPOT or better, by utilisation and request.

    Of the time T it may take, a part y may go to turns that carry prompts, which advance it by one token each instead
    of one in every `step`; all of it where such a `turn` takes no longer than TPOT. Prompts of W seconds of work at a
    stage, those that arrive in T and while its own was computed, make y = 1 - (1 - W / T)^pp of its turns that long, as
    a turn is if any of its pp passes carries one.
    """
    tokens = np.maximum(demand.output - 1, 0)[None, :]
    window = np.maximum(tokens, 1) * slo.tpot_s
    mean, long = passes.turn_norms_s(LONG_ORDER)
    filled = mean + UTILISATIONS * (full - mean)
    turn = filled[:, None] + (long - mean)[:, None] / np.sqrt(np.maximum(tokens, 1))
    gain = np.maximum(1 / step[:, None] - 1 / turn, LEAST_GAIN)
    part = (1 / step[:, None] - tokens / window) / gain
    allowed = window * (1 - (1 - np.clip(part, 0.0, 1.0)) ** (1 / passes.pp))
    arrivals = (window + passes.latency_s) * rate[:, None]
    within = work_within(allowed, arrivals, passes.service_s, demand.variation_at(rate))
    return np.where((tokens == 0) | (part >= 1.0), 1.0, np.where(part < 0.0, 0.0, within))


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
