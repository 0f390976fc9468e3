"""The recipes: `plan` (offers + workload + SLO → `Plan`), `rebalance` (phases and routes only)."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum

from planner.demand import demand_of, longest_request
from planner.deployment import Codec, Plan
from planner.errors import Infeasible, SpecError
from planner.links import Links, check_links
from planner.llm import LlmSpec
from planner.market import Market
from planner.parallel.layouts import Capacities, Task
from planner.search import choosing
from planner.search.choosing import Finding, Search
from planner.search.drafting import Occasion, drafted
from planner.search.flips import rebalanced
from planner.search.infeasible import nothing_serves, too_dear, too_much, unconfirmed
from planner.search.shop import Choice, choice_of
from planner.workload import Slo, Workload


class Goal(StrEnum):
    """The most goodput for the budget, or the least cost for the workload's rate."""

    GOODPUT = "goodput"
    COST = "cost"


def utc_now() -> datetime:
    return datetime.now(UTC)


def silent(_: str) -> None:
    """Report progress to nobody."""


def plan(
    market: Market,
    llm: LlmSpec,
    workload: Workload,
    slo: Slo,
    *,
    budget_usd_per_hour: float,
    goal: Goal = Goal.GOODPUT,
    max_model_len: int = 8192,
    fixed: bool = False,
    codec: Codec | None = None,
    links: Links | None = None,
    seed: int = 0,
    now: Callable[[], datetime] = utc_now,
    progress: Callable[[str], None] = silent,
) -> Plan:
    """The best plan of a market. `fixed` rents every offer in all its copies. Infeasible says which limit binds.

    `codec` is used on every route if given, else chosen for each; `links` are stated between offer ids.
    """
    started = time.perf_counter()
    _check(budget_usd_per_hour, goal, workload)
    capacities = Capacities(_task(llm, workload, slo, max_model_len), codec)
    stated = links or {}
    check_links(stated, (offer.offer_id for offer in market.offers))
    choice = choice_of(capacities, market.offers, links=stated, keep_all=fixed)
    search = Search(capacities, budget_usd_per_hour, stated, fixed, seed, progress)
    progress(f"{len(market.offers)} offers, {len(choice.offers)} of use")
    if not choice.serves:
        raise nothing_serves(capacities, market.offers)
    rate = workload.rate_rps if goal is Goal.COST else None
    found = choosing.least_cost(search, choice, rate) if rate else choosing.most_goodput(search, choice)
    if found is None or found.goodput_rps <= 0:
        raise _reason(search, choice, rate, found)
    occasion = Occasion(
        created_at=now(),
        market_as_of=market.as_of,
        market_source=market.source,
        goal=goal,
        budget_usd_per_hour=budget_usd_per_hour,
        seconds=time.perf_counter() - started,
        evaluations=search.evaluations,
        seed=seed,
    )
    return drafted(capacities.task, workload, found, occasion)


def rebalance(
    current: Plan,
    workload: Workload,
    slo: Slo | None = None,
    *,
    codec: Codec | None = None,
    links: Links | None = None,
    seed: int = 0,
    now: Callable[[], datetime] = utc_now,
    progress: Callable[[str], None] = silent,
) -> Plan:
    """The same machines, groups and layouts with the phases and routes that suit this workload best.

    Instances and replicas keep their ids; `links` are stated between instance or offer ids.
    """
    started = time.perf_counter()
    task = _task(current.llm, workload, slo or current.slo, current.max_model_len)
    budget = current.budget_usd_per_hour
    search = Search(Capacities(task, codec), budget, links or {}, rent_all=True, seed=seed, progress=progress)
    found = rebalanced(search, current)
    if found is None or found.goodput_rps <= 0:
        raise unconfirmed(task, workload.rate_rps)
    occasion = Occasion(
        created_at=now(),
        market_as_of=current.market_as_of,
        market_source=current.market_source,
        goal=current.goal,
        budget_usd_per_hour=budget,
        seconds=time.perf_counter() - started,
        evaluations=search.evaluations,
        seed=seed,
    )
    return drafted(task, workload, found, occasion)


def least_usd_per_hour(
    market: Market, llm: LlmSpec, workload: Workload, slo: Slo, *, max_model_len: int = 8192
) -> float | None:
    """What the cheapest plan costs that serves the workload's rate, or anything where it has none; None if no plan."""
    capacities = Capacities(_task(llm, workload, slo, max_model_len))
    choice = choice_of(capacities, market.offers, links={})
    if not choice.serves:
        return None
    return choosing.least_usd_per_hour(Search(capacities, 0.0), choice, workload.rate_rps or choosing.LEAST_RATE_RPS)


def _task(llm: LlmSpec, workload: Workload, slo: Slo, max_model_len: int) -> Task:
    longest = longest_request(llm, max_model_len)
    return Task(llm, demand_of(workload, longest), slo, longest)


def _check(budget_usd_per_hour: float, goal: Goal, workload: Workload) -> None:
    if not 0 <= budget_usd_per_hour < float("inf"):
        raise SpecError(f"The budget is {budget_usd_per_hour} $/h; expected 0 or more.")
    if goal is Goal.COST and workload.rate_rps is None:
        raise SpecError(
            "Goal cost has no rate; expected requests/s to serve.", hint="Give --rate or [workload] rate_rps."
        )


def _reason(search: Search, choice: Choice, rate_rps: float | None, found: Finding | None) -> Infeasible:
    """Which limit binds: what is on offer, the budget, or what simulation confirms."""
    least = choosing.least_usd_per_hour(search, choice, rate_rps or choosing.LEAST_RATE_RPS)
    if least is None:
        return too_much(search.task, rate_rps or 0.0, choosing.most_of_all(search, choice))
    if found is None and least > search.budget_usd_per_hour:
        return too_dear(search.task, search.budget_usd_per_hour, least, rate_rps)
    return unconfirmed(search.task, rate_rps)
