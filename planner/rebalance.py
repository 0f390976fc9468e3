"""The recipe of a rebalance: a running plan + another workload, links or losses → phases and routes, and why."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from planner.advice.infeasible import unconfirmed
from planner.advice.why import why
from planner.choosing.drafting import Occasion, drafted
from planner.choosing.search import Search
from planner.deployment import Codec, Plan
from planner.document import plan_id
from planner.links import Links, check_links
from planner.members import members_of
from planner.parallel.layouts import Capacities
from planner.plan import silent, task_of, utc_now
from planner.procurement.fleet import running
from planner.rebalancing.flips import confirmed, turned, without
from planner.workload import Slo, Workload


@dataclass(frozen=True, slots=True)
class Rebalanced:
    """What is to be in force, and why, in sentences that are the plan's notes as well.

    `before` is what was in force, under the same workload; None where that serves nothing. `decide_s` is the whole
    decision, from the workload to phases and routes; `confirm_s` the simulations of both that follow.
    """

    plan: Plan
    before: Plan | None
    why: tuple[str, ...]
    decide_s: float
    confirm_s: float


def rebalance(
    current: Plan,
    workload: Workload,
    slo: Slo | None = None,
    *,
    codec: Codec | None = None,
    links: Links | None = None,
    lost: Sequence[str] = (),
    seed: int = 0,
    now: Callable[[], datetime] = utc_now,
    progress: Callable[[str], None] = silent,
) -> Rebalanced:
    """The same machines, groups and layouts with the phases and routes that suit this workload best.

    Instances and replicas keep their ids; `links` are stated between instance or offer ids. `lost` replicas, and those
    on `lost` instances, are left out.
    """
    started = time.perf_counter()
    left = without(current, lost)
    stated = links or {}
    check_links(stated, (name for one in current.instances for name in (one.id, one.offer_id)))
    search = search_over(left, workload, slo, codec=codec, links=stated, seed=seed, progress=progress)
    task = search.task
    turn = turned(search, left)
    decided_s = time.perf_counter() - started
    if turn is None:
        raise unconfirmed(task, workload.rate_rps)
    judged = confirmed(search, left, turn)
    found = judged.found
    if found.goodput_rps <= 0:
        raise unconfirmed(task, workload.rate_rps)
    occasion = Occasion(
        created_at=now(),
        market_as_of=current.market_as_of,
        market_source=current.market_source,
        goal=current.goal,
        budget_usd_per_hour=left.budget_usd_per_hour,
        seconds=decided_s,
        evaluations=search.evaluations,
        seed=seed,
    )
    same_rate = workload.at(workload.rate_rps or found.goodput_rps)
    before = drafted(task, same_rate, judged.before, occasion) if judged.before else None
    after = before if before and judged.before is found else drafted(task, same_rate, found, occasion)
    overruled = turn.flips and judged.before is found
    in_force = {replica.id: replica.phase for replica in left.replicas}
    told = tuple(why(before, after, in_force, lost, overruled=overruled))
    noted = replace(after, notes=(*told, *after.notes), amends=current.amends)
    confirm_s = time.perf_counter() - started - decided_s
    return Rebalanced(replace(noted, plan_id=plan_id(noted)), before, told, decided_s, confirm_s)


def search_over(
    running_plan: Plan,
    workload: Workload,
    slo: Slo | None = None,
    *,
    codec: Codec | None = None,
    links: Links,
    seed: int = 0,
    progress: Callable[[str], None] = silent,
) -> Search:
    """What a search for other phases of a plan's replicas rests on: their capacities under the workload, all kept."""
    task = task_of(running_plan.llm, workload, slo or running_plan.slo, running_plan.max_model_len)
    capacities = running(Capacities(task, codec), members_of(running_plan, links))
    return Search(capacities, running_plan.budget_usd_per_hour, links, rent_all=True, seed=seed, progress=progress)
