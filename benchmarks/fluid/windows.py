"""Request by request: the curve that the fluid goes by, and windows of the days that it is held against."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.fluid.load import Load, mixture
from benchmarks.fluid.rates import Rates
from benchmarks.fluid.service import Curve, Fluid
from planner.deployment import Plan
from planner.quick_rebalance import attainment, quick_rebalance
from planner.rebalancing.phase_program import PHASES

MIXTURES = (0.0, 0.3, 0.8)
PARTS = (0.3, 0.6, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35)
CELLS = 2
"""Cells of the fleet that are played in a window."""
MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Window:
    """A minute of the days: what the fluid says, and what four minutes of requests at its rate do."""

    minute: int
    rate_rps: float
    coding_share: float
    replicas: int
    fluid: float
    simulated: float


def curve_of(cell: Plan, rates: Rates) -> Curve:
    """Of one cell, in the phases that suit each of a few mixtures: the mean of what these attain."""
    found = []
    for coding_share in MIXTURES:
        suited = quick_rebalance(cell, mixture(coding_share, 1.0))
        assert suited is not None
        whole_rps = served_rps(suited, rates, coding_share)
        found.append([attainment(suited, mixture(coding_share, part * whole_rps)) for part in PARTS])
    attained = np.mean(found, axis=0)
    return Curve(np.array(PARTS), attained, _knee(attained, cell.slo.attainment))


def served_rps(plan: Plan, rates: Rates, coding_share: float) -> float:
    """The rate at which its busiest replica is full, by the shares of its routes."""
    rps, inflow = rps_of(plan, rates, coding_share), dict.fromkeys((one.id for one in plan.replicas), 0.0)
    for route in plan.routes:
        for end in {route.prefill, route.decode}:
            inflow[end] += route.share
    return min(rps[name] / part for name, part in inflow.items() if part > 0)


def rps_of(plan: Plan, rates: Rates, coding_share: float) -> dict[str, float]:
    """What each replica serves in its phase; replicas are named by their number in the whole fleet."""
    table = rates.at(coding_share)
    return {one.id: float(table[int(one.id[1:]) % len(table), PHASES.index(one.phase)]) for one in plan.replicas}


def compared(windows: dict[int, Plan], load: Load, rates: Rates, curve: Curve, seed: int) -> Iterator[Window]:
    random = np.random.default_rng(seed)
    for minute, plan in sorted(windows.items()):
        rate, share = float(load.rate_rps[minute]), float(load.coding_share[minute])
        some = sampled(plan, random)
        part_rps = rate * sum(one.share for one in some.routes)
        alone = replace(some, routes=tuple(replace(one, share=one.share * rate / part_rps) for one in some.routes))
        fluid = Fluid(curve, plan.slo.ttft_s).attained(
            [(one.prefill, one.decode, one.share) for one in alone.routes],
            rps_of(alone, rates, share),
            part_rps,
            MINUTE_S,
        )
        simulated = attainment(alone, mixture(share, part_rps), seed=seed)
        yield Window(minute, rate, share, len(alone.replicas), fluid, simulated)


def sampled(plan: Plan, random: np.random.Generator) -> Plan:
    """A few groups of replicas that exchange requests with no others."""
    groups = list(_groups(plan))
    chosen = random.permutation(len(groups))[:CELLS]
    names = {name for number in chosen for name in groups[number]}
    return replace(
        plan,
        replicas=tuple(one for one in plan.replicas if one.id in names),
        routes=tuple(one for one in plan.routes if one.prefill in names),
    )


def _groups(plan: Plan) -> Iterator[set[str]]:
    group: dict[str, set[str]] = {}
    for route in plan.routes:
        met = group.get(route.prefill, {route.prefill}) | group.get(route.decode, {route.decode})
        group.update(dict.fromkeys(met, met))
    yield from {id(one): one for one in group.values()}.values()


def _knee(attained: np.ndarray, target: float) -> float:
    """The first part of the rate at which attainment falls to the target."""
    below = np.flatnonzero(attained < target)
    if not len(below) or below[0] == 0:
        return float(PARTS[-1] if not len(below) else PARTS[0])
    low, high = below[0] - 1, below[0]
    across = (attained[low] - target) / (attained[low] - attained[high])
    return float(PARTS[low] + across * (PARTS[high] - PARTS[low]))
