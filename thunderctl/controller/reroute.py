"""Routes over those of a plan's replicas that can serve: the plan's own where that is all of them, else a rebalance.

Of more than a few the decision alone is put in force: the simulations that would confirm it take longer than routes
may be out of date, and the controller's next look at the workload judges what is in force anyhow.
"""

import time
from collections.abc import Collection
from dataclasses import replace

from planner.deployment import Codec, Phase, Plan, Route
from planner.errors import Infeasible, SolverFailed, SpecError
from planner.links import Links
from planner.quick_rebalance import quick_rebalance
from planner.rebalance import rebalance
from planner.rebalancing.flips import without
from planner.workload import Workload

MOST_CONFIRMED = 3
"""Replicas whose routes are simulated before they are put in force. That takes 0.3 to 1.4 s of CPU; of four up to
2.8 s, of a dozen 10 s, and deciding 0.1 s. Of 52 made-up fleets of 2 to 18, what was decided was overruled in one."""


def plan_over(
    plan: Plan, replicas: Collection[str], workload: Workload, *, codec: Codec | None = None, links: Links | None = None
) -> tuple[Plan, str]:
    """The plan with these of its replicas alone, and how it was made, in words. The machines are the same.

    Where a rebalance finds nothing that meets the targets, what is left of the routes serves, or everyone alone: late
    answers are better than none.
    """
    lost = [one.id for one in plan.replicas if one.id not in replicas]
    if not lost:
        return plan, "as planned"
    try:
        if len(replicas) > MOST_CONFIRMED:
            return _decided(without(plan, lost), workload, codec=codec, links=links)
        found = rebalance(plan, workload, codec=codec, links=links, lost=lost)
    except (Infeasible, SpecError, SolverFailed) as error:
        return left_of(plan, lost), f"without a search, which found nothing: {error.message.rstrip('.')}"
    return found.plan, f"rebalanced in {found.decide_s + found.confirm_s:.2f} s"


def _decided(
    left: Plan, workload: Workload, *, codec: Codec | None = None, links: Links | None = None
) -> tuple[Plan, str]:
    started = time.perf_counter()
    found = quick_rebalance(left, workload, codec=codec, links=links)
    if found is None:
        raise Infeasible("no phases serve anything")
    return found, f"decided in {time.perf_counter() - started:.2f} s, not simulated"


def left_of(plan: Plan, lost: Collection[str]) -> Plan:
    """The plan's own routes between the others; where none is left, everyone serves alone."""
    left = without(plan, list(lost))
    if left.routes:
        whole = sum(route.share for route in left.routes)
        return replace(left, routes=tuple(replace(route, share=route.share / whole) for route in left.routes))
    alone = tuple(one.flipped(Phase.MIXED) for one in left.replicas)
    routes = tuple(Route(one.id, one.id, 1 / len(alone), Codec.LOCAL) for one in alone)
    return replace(left, replicas=alone, routes=routes)
