"""Why a plan is as it is: what each offer is good for, which limit binds, and how sure one may be of it.

Prices per request and what binds are analytic; how the plan degrades is simulated. All of it is worked out from the
plan and the market that it was made from, so an earlier plan can be explained too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from planner.advice.levers import Lever, levers_left_out, market_levers, replica_levers
from planner.advice.robustness import WhatIf, what_ifs
from planner.advice.startup import Startup, slowest_startup
from planner.advice.token_cost import TokenCost, token_costs
from planner.catalog import Offer
from planner.deployment import Phase, Plan
from planner.links import Links
from planner.parallel.layouts import Capacities
from planner.requirements import fitness


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an offer was taken for a phase: $/h for each request/s through it, beside the best offer that was not taken.

    `next_offer_id` is empty where no other offer serves the phase; `why_not` says what speaks against a cheaper one.
    """

    offer_id: str
    instances: tuple[str, ...]
    phase: Phase
    served_rps: float
    usd_per_hour_per_rps: float
    next_offer_id: str
    next_usd_per_hour_per_rps: float
    why_not: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """`levers` are ordered by what they would gain, the most first; `refused` counts offers by what they lack.

    `levers_left_out` says why those of the market are not among them, where they are not known.
    """

    reasons: tuple[Reason, ...]
    levers: tuple[Lever, ...]
    levers_left_out: str
    what_ifs: tuple[WhatIf, ...]
    startup: Startup
    refused: str

    @property
    def binding(self) -> tuple[Lever, ...]:
        return tuple(lever for lever in self.levers if lever.binds)


def explained(
    plan: Plan, capacities: Capacities, offers: Sequence[Offer], *, links: Links, fixed: bool = False, seed: int = 0
) -> Explanation:
    """`fixed` fleets were not chosen: nothing is asked of the market then. `capacities` are of the plan's task."""
    found = fitness(plan.llm, offers)
    capacities = capacities.in_fleet(plan.search.objective_rps)
    levers = list(replica_levers(plan, capacities, links=links))
    left_out = "" if fixed else levers_left_out(plan)
    if not (fixed or left_out):
        levers += market_levers(capacities, offers, plan.budget_usd_per_hour, links=links)
    return Explanation(
        reasons=() if fixed else tuple(_reasons(plan, token_costs(capacities, found.fit))),
        levers=tuple(sorted(levers, key=lambda lever: -lever.gain)),
        levers_left_out=left_out,
        what_ifs=what_ifs(plan, capacities.task, links=links, seed=seed),
        startup=slowest_startup(plan.llm, plan.instances),
        refused=found.refused_in_words,
    )


def explanation_to_json(found: Explanation) -> dict[str, Any]:
    """Values that `json.dumps` takes."""
    levers = [asdict(lever) | {"gain": lever.gain, "binds": lever.binds} for lever in found.levers]
    return asdict(found) | {"levers": levers, "startup": asdict(found.startup) | {"seconds": found.startup.seconds}}


def _reasons(plan: Plan, costs: Sequence[TokenCost]) -> Iterator[Reason]:
    """One for every offer and phase of the plan."""
    rated = {cost.offer.offer_id: cost for cost in costs}
    copies = {name: [i.id for i in plan.instances if i.offer_id == name] for name in rated}
    left = [cost for cost in costs if len(copies[cost.offer.offer_id]) < cost.offer.available]
    for name, instances in copies.items():
        for phase in Phase:
            served = [r.capacity_rps for r in plan.replicas if r.phase is phase and r.instances[0] in instances]
            each = rated[name].usd_per_hour_per_rps(phase)
            if served and each is not None:
                yield _reason(plan, rated[name], instances, phase, sum(served), each, left)


def _reason(
    plan: Plan,
    taken: TokenCost,
    instances: Sequence[str],
    phase: Phase,
    served_rps: float,
    usd_per_hour_per_rps: float,
    left: Sequence[TokenCost],
) -> Reason:
    others = [cost for cost in left if cost.offer.offer_id != taken.offer.offer_id and cost.rps(phase)]
    best = min(others, key=lambda cost: cost.usd_per_hour_per_rps(phase) or 0.0, default=None)
    other_usd = (best.usd_per_hour_per_rps(phase) or 0.0) if best else 0.0
    dearer = best is None or other_usd >= usd_per_hour_per_rps
    return Reason(
        offer_id=taken.offer.offer_id,
        instances=tuple(instances),
        phase=phase,
        served_rps=served_rps,
        usd_per_hour_per_rps=usd_per_hour_per_rps,
        next_offer_id=best.offer.offer_id if best else "",
        next_usd_per_hour_per_rps=other_usd,
        why_not="" if best is None or dearer else _against(plan, taken.offer, best.offer),
    )


def _against(plan: Plan, taken: Offer, cheaper: Offer) -> str:
    """What speaks against an offer that costs less per request than the one taken."""
    spare = plan.budget_usd_per_hour - plan.cost_usd_per_hour
    machines = {(i.provider, i.machine) for i in plan.instances if i.machine}
    if (cheaper.provider, cheaper.machine) in machines:
        return "another offer of the same machine is taken"
    if cheaper.usd_per_hour > spare + taken.usd_per_hour:
        return f"at {cheaper.usd_per_hour:.2f} $/h it does not fit the budget in its place"
    return "it serves less in all in its place, or not what the other replicas need"
