"""What the controller is held against: a fleet that stays as it is, and an oracle that is remade each hour for nothing.

Both are counts of machines by type and phase from a linear program, and one fluid: their load is spread perfectly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cvxpy as cp
import numpy as np

from benchmarks.fluid.fleet import GPUS
from benchmarks.fluid.lived import Loss
from benchmarks.fluid.load import MINUTE_S, Load
from benchmarks.fluid.prices import Prices
from benchmarks.fluid.rates import Rates
from benchmarks.fluid.service import Curve, Fluid
from planner.demand import Floats
from planner.rebalancing.phase_program import PHASES

HOUR = 60
AIM = 0.9
"""Part of what a fleet serves within the targets that it is sized to: minutes differ."""
UNSERVED_USD = 10.0
"""What a request/s that can't be served counts for, in $/h: more than any machine costs that serves it."""


@dataclass(frozen=True, slots=True)
class Need:
    """An hour: the most requests/s that come in a minute of it, and what a replica of each type and phase serves."""

    rate_rps: float
    rps: Floats


@dataclass(frozen=True, slots=True)
class Fixed:
    """Attainment a minute, $ spent, and machines at most."""

    attained: Floats
    spent_usd: float
    machines: float


def needs(load: Load, rates: Rates, curve: Curve) -> list[Need]:
    found = []
    for first in range(0, load.minutes, HOUR):
        span = slice(first, first + HOUR)
        share = float(load.coding_rps[span].sum() / load.rate_rps[span].sum())
        found.append(Need(float(load.rate_rps[span].max()), rates.at(share) * curve.knee))
    return found


def most_rps(need: Need, each: float) -> float:
    """What so many machines of each type serve in that hour, at best."""
    return _solved([need], np.zeros(len(GPUS)), each, spend=None)[1][0]


def sized(some: Sequence[Need], usd: Floats, each: float, *, spend: float | None = None) -> Floats:
    """Machines by type and phase that serve all these hours, for the least money; at most so many of each type, and for
    no more than `spend` in $/h."""
    return _solved(some, usd, each, spend)[0]


def bought(some: Sequence[Need], usd: Floats, each: float, spend: float) -> Floats:
    """What so many $/h buy: the machines that serve the largest part of the worst of these hours."""
    count, part = cp.Variable((len(GPUS), len(PHASES)), nonneg=True), cp.Variable(nonneg=True)
    limits = [cp.sum(count, axis=1) <= each, usd @ cp.sum(count, axis=1) <= spend]
    for need in some:
        split = cp.Variable(nonneg=True)
        limits += [split <= need.rps[:, 0] @ count[:, 0], split <= need.rps[:, 1] @ count[:, 1]]
        limits.append(split + need.rps[:, 2] @ count[:, 2] >= part * need.rate_rps)
    cp.Problem(cp.Maximize(part), limits).solve(solver=cp.HIGHS)
    return np.asarray(count.value)


def _solved(some: Sequence[Need], usd: Floats, each: float, spend: float | None) -> tuple[Floats, list[float]]:
    count = cp.Variable((len(GPUS), len(PHASES)), nonneg=True)
    limits, unserved, served = [cp.sum(count, axis=1) <= each], [], []
    for need in some:
        split, short = cp.Variable(nonneg=True), cp.Variable(nonneg=True)
        limits += [split <= need.rps[:, 0] @ count[:, 0], split <= need.rps[:, 1] @ count[:, 1]]
        whole = split + need.rps[:, 2] @ count[:, 2]
        limits.append(whole + short >= need.rate_rps / AIM)
        unserved.append(short)
        served.append(whole)
    cost = usd @ cp.sum(count, axis=1)
    if spend is not None:
        limits.append(cost <= spend)
    free = not usd.any()
    goal = (
        cp.Maximize(cp.sum(cp.hstack(served)))
        if free
        else cp.Minimize(cost + UNSERVED_USD * cp.sum(cp.hstack(unserved)))
    )
    cp.Problem(goal, limits).solve(solver=cp.HIGHS)
    return np.asarray(count.value), [float(one.value) for one in served]


def kept(
    counts: Floats,
    load: Load,
    prices: Prices,
    rates: Rates,
    curve: Curve,
    ttft_s: float,
    losses: Sequence[Loss] = (),
    start_s: float | None = None,
) -> Fixed:
    """The same machines in the same phases all the time. What is lost is there again after `start_s`; None: never."""
    whole, fluid, attained = float(counts.sum()), Fluid(curve, ttft_s), []
    lost_at = np.array([one.at_s for one in losses])
    for minute in range(load.minutes):
        at_s = minute * MINUTE_S
        gone = (lost_at <= at_s) & (True if start_s is None else lost_at > at_s - start_s)
        left = max(0.0, 1 - gone.sum() / whole)
        rps = _served(counts, rates.at(float(load.coding_share[minute]))) * left
        attained.append(fluid.attained([("all", "all", 1.0)], {"all": rps}, float(load.rate_rps[minute]), MINUTE_S))
    usd_per_hour = float(_usd(prices, 0.0) @ counts.sum(axis=1))
    return Fixed(np.array(attained), usd_per_hour * load.minutes / HOUR, whole)


def oracle(load: Load, prices: Prices, rates: Rates, curve: Curve, ttft_s: float, each: float, cap: float) -> Fixed:
    """The cheapest fleet of each hour that is known to come, at that hour's prices: no starts, no losses, no notice."""
    fluid, attained, spent, most = Fluid(curve, ttft_s), [], 0.0, 0.0
    for number, need in enumerate(needs(load, rates, curve)):
        usd = _usd(prices, number * HOUR * MINUTE_S)
        counts = sized([need], usd, each, spend=cap)
        minutes = range(number * HOUR, min((number + 1) * HOUR, load.minutes))
        for minute in minutes:
            rps = _served(counts, rates.at(float(load.coding_share[minute])))
            attained.append(fluid.attained([("all", "all", 1.0)], {"all": rps}, float(load.rate_rps[minute]), MINUTE_S))
        spent += float(usd @ counts.sum(axis=1)) * len(minutes) / HOUR
        most = max(most, float(counts.sum()))
    return Fixed(np.array(attained), spent, most)


def _served(counts: Floats, rps: Floats) -> float:
    prefill, decode, mixed = (counts * rps).sum(axis=0)
    return float(min(prefill, decode) + mixed)


def _usd(prices: Prices, at_s: float) -> Floats:
    return np.array([prices.at(gpu, at_s) for gpu in GPUS])
