"""Phases and routes of replicas that already run: which of them should prefill, without reloading any weights.

Up to MOST_EXACT replicas every designation is considered, in order of a bound on what it serves, until no bound left
beats the best pairing found. Beyond that, flips of one and of two climb the bound from the designation in force.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from planner.demand import Floats, Ints
from planner.deployment import Alternative, Phase, Plan
from planner.members import Member, members_of
from planner.search.candidate import Candidate, candidate
from planner.search.choosing import Finding, Search

MOST_EXACT = 12
"""3 phases each: 531,441 designations, whose bounds take a fifth of a second."""
PAIRED = 16
"""Designations that are paired at most."""
JUDGED = 3
"""The best of them that are simulated."""
SAME = 1e-3
"""Relative difference of two scores that does not matter: the designation with fewer flips wins."""
BEFORE = "phases as they were"
PHASES = (Phase.PREFILL, Phase.DECODE, Phase.MIXED)


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests/s of each replica (a column) in each of PHASES (a row)."""

    rps: Floats

    @property
    def replicas(self) -> int:
        return int(self.rps.shape[1])


def rebalanced(search: Search, current: Plan) -> Finding | None:
    """The best designation of the plan's replicas; None if none serves. The one in force is listed if it is beaten."""
    members = members_of(current)
    rates = _rates(search, members)
    in_force = np.array([PHASES.index(member.phase) for member in members], dtype=np.int64)
    ranked, bounds = _ranked(rates, in_force)
    before = _formed(search, current, members, in_force)
    found = [*([before] if before else []), *_paired(search, current, members, ranked, bounds)]
    judged: list[tuple[float, Candidate]] = []
    best_rps = 0.0
    for one in found:
        judged.append((search.goodput_rps(one, beyond_rps=best_rps), one))
        best_rps = max(best_rps, judged[-1][0])
    if not judged:
        return None
    goodput, chosen = next((rps, one) for rps, one in judged if rps >= best_rps * (1 - SAME))
    beaten = (Alternative(BEFORE, judged[0][0], before.usd_per_hour),) if before and chosen is not before else ()
    bound = float(bounds.max()) if len(members) <= MOST_EXACT else fractional_bound(rates)
    return Finding(chosen, goodput, bound, beaten)


def served_bound(rates: Rates, designations: Ints) -> Floats:
    """What each designation (a row of indices into PHASES) serves at most: what both phases take, and the mixed."""
    prefill, decode, mixed = (
        sum(np.where(designations[:, i] == phase, rates.rps[phase, i], 0.0) for i in range(rates.replicas))
        for phase in range(len(PHASES))
    )
    return np.asarray(np.minimum(prefill, decode) + mixed)


def fractional_bound(rates: Rates) -> float:
    """What the replicas serve at most however their time is divided: the least of a family of Lagrangian bounds."""
    price = np.linspace(0, 1, 201)[:, None]
    prefill, decode, mixed = rates.rps
    best = np.maximum(np.maximum(price * prefill, (1 - price) * decode), mixed)
    return float(best.sum(axis=1).min())


def _rates(search: Search, members: Sequence[Member]) -> Rates:
    of = search.capacities
    uses = (of.prefill_rps, of.decode_rps, of.mixed_rps)
    return Rates(np.array([[use(member.layout) for member in members] for use in uses]))


def _paired(search: Search, current: Plan, members: Sequence[Member], ranked: Ints, bounds: Floats) -> list[Candidate]:
    """The best few by what orchestration finds them to serve; stops once no bound beats the best."""
    found: list[Candidate] = []
    for designation, bound in zip(ranked[:PAIRED], bounds[:PAIRED], strict=True):
        if found and bound <= max(one.pairing.served_rps for one in found) * (1 + SAME):
            break
        formed = _formed(search, current, members, designation)
        if formed:
            found.append(formed)
    found.sort(key=lambda one: -one.pairing.served_rps)
    return found[:JUDGED]


def _ranked(rates: Rates, in_force: Ints) -> tuple[Ints, Floats]:
    """Designations worth pairing, and their bounds: the best first and, among equals, the fewest flips."""
    exact = rates.replicas <= MOST_EXACT
    every = _every(rates.replicas) if exact else _climbed(rates, in_force)
    bounds = served_bound(rates, every)
    best = np.flatnonzero(bounds >= np.partition(bounds, -min(len(bounds), 10 * PAIRED))[-10 * PAIRED :].min())
    coarse = np.round(bounds[best] / (bounds.max() * SAME + 1e-12))
    flips = (every[best] != in_force).sum(axis=1)
    order = best[np.lexsort((flips, -coarse))]
    return every[order], bounds[order]


def _every(replicas: int) -> Ints:
    """All designations: the digits of all numbers in base 3."""
    numbers = np.arange(len(PHASES) ** replicas)[:, None]
    return np.asarray(numbers // len(PHASES) ** np.arange(replicas) % len(PHASES))


def _climbed(rates: Rates, in_force: Ints) -> Ints:
    """The designations met on the way up from the one in force, by flips of one replica and of two."""
    current, met = in_force, [in_force]
    best = float(served_bound(rates, current[None])[0])
    while True:
        around = _neighbours(current)
        bounds = served_bound(rates, around)
        if bounds.max() <= best * (1 + SAME):
            return np.array(met[::-1])
        current, best = around[int(bounds.argmax())], float(bounds.max())
        met.append(current)


def _neighbours(designation: Ints) -> Ints:
    count = len(designation)
    single = np.array([turn * np.eye(count, dtype=np.int64)[i] for i in range(count) for turn in (1, 2)])
    double = [single[a] + single[b] for a, b in combinations(range(len(single)), 2) if a // 2 != b // 2]
    return np.asarray((designation + np.array([*single, *double])) % len(PHASES))


def _formed(search: Search, current: Plan, members: Sequence[Member], designation: Ints) -> Candidate | None:
    search.evaluations += 1
    flipped = [
        replace(member, replica=member.replica.flipped(PHASES[phase]))
        for member, phase in zip(members, designation.tolist(), strict=True)
    ]
    return candidate(
        search.capacities,
        current.instances,
        flipped,
        budget_usd_per_hour=search.budget_usd_per_hour,
        links=search.links,
        keep_all=True,
    )
