"""The recipe of a plan: offers + workload + SLO → `Plan`. `rebalance.py` has the one for replicas that run."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from math import inf

from planner.advice.infeasible import nothing_serves, too_dear, too_much, unconfirmed
from planner.advice.transfer_reasons import transfer_reason
from planner.choosing import buying, choose
from planner.choosing.bounding import pays_beside
from planner.choosing.contest import Finding
from planner.choosing.drafting import Occasion, drafted
from planner.choosing.progress import Progress, Report, unheard
from planner.choosing.search import Search
from planner.demand import clipped_share, demand_of, longest_request
from planner.deployment import Codec, Plan
from planner.errors import Infeasible, SpecError
from planner.links import Links, check_links
from planner.llm import LlmSpec
from planner.market import Market
from planner.parallel.layouts import Capacities, Task
from planner.procurement.fleet import sized
from planner.procurement.shop import Choice
from planner.proof.beside import answering
from planner.requirements import fitness, offers_in_words, refusals_in_words, trust_in_words
from planner.workload import Slo, Workload

ROUNDING = 1e-6
"""Of a score that reaches its bound."""
MOST_CUT = 0.5
"""Part of the requests that may be cut to the longest admitted; a plan for fewer whole ones is for another workload."""


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
    report: Report = unheard,
    known: Capacities | None = None,
) -> Plan:
    """The best plan of a market. `fixed` rents every offer in all its copies. Infeasible says which limit binds.

    `codec` is used on every route if given, else chosen for each; `links` are stated between offer ids. `known` are the
    capacities of an earlier plan for the same task and codec, which need not be worked out again.
    """
    started = time.perf_counter()
    _check(budget_usd_per_hour, goal, workload, longest_request(llm, max_model_len))
    capacities = known or Capacities(task_of(llm, workload, slo, max_model_len), codec)
    stated = links or {}
    check_links(stated, (offer.offer_id for offer in market.offers))
    rate = workload.rate_rps if goal is Goal.COST else None
    with answering(beside=pays_beside(market.offers)) as ask:
        capacities, choice = sized(
            capacities, market.offers, stated, budget_usd_per_hour=budget_usd_per_hour, rate_rps=rate, keep_all=fixed
        )
        search = Search(capacities, budget_usd_per_hour, stated, fixed, seed, progress, report, ask=ask)
        progress(_of_use(market, llm, len(choice.offers)))
        found = _found(search, choice, market, rate)
    report(Progress(found.goodput_rps, inf, 0.0, time.perf_counter() - started, "simulated"))
    occasion = Occasion(
        created_at=now(),
        market_as_of=market.as_of,
        market_source=market.source,
        goal=goal,
        budget_usd_per_hour=budget_usd_per_hour,
        seconds=time.perf_counter() - started,
        evaluations=search.evaluations,
        seed=seed,
        remarks=_remarks(search, market, found),
    )
    return drafted(capacities.task, workload, found, occasion)


def _found(search: Search, choice: Choice, market: Market, rate_rps: float | None) -> Finding:
    """Raises Infeasible with the reason where nothing serves."""
    if not choice.offers:
        raise nothing_serves(search.capacities, market, search.links)
    found = choose.least_cost(search, choice, rate_rps) if rate_rps else choose.most_goodput(search, choice)
    if found is None and not choice.serves:
        raise nothing_serves(search.capacities, market, search.links)
    if found is None or found.goodput_rps <= 0:
        raise _reason(search, choice, rate_rps, found)
    return found


def least_usd_per_hour(
    market: Market, llm: LlmSpec, workload: Workload, slo: Slo, *, max_model_len: int = 8192
) -> float | None:
    """What the cheapest plan costs that serves the workload's rate, or anything where it has none; None if no plan."""
    rate = workload.rate_rps or buying.LEAST_RATE_RPS
    whole = Capacities(task_of(llm, workload, slo, max_model_len))
    capacities, choice = sized(whole, market.offers, {}, budget_usd_per_hour=0.0, rate_rps=rate)
    return buying.least_usd_per_hour(Search(capacities, 0.0), choice, rate) if choice.serves else None


def _of_use(market: Market, llm: LlmSpec, useful: int) -> str:
    """`1,064 offers, 812 of use: 120 too little disk, 132 too small or too slow`."""
    found = fitness(llm, market.offers)
    others = len(found.fit) - useful
    left_out = [found.refused_in_words] if found.refused else []
    left_out += [f"{others:,} too small or too slow"] if others > 0 else []
    return f"{offers_in_words(len(market.offers))}, {useful:,} of use" + (
        f": {', '.join(left_out)}" if left_out else ""
    )


def _remarks(search: Search, market: Market, found: Finding) -> tuple[str, ...]:
    """Why KV stays where it is, and what the offers taken do not say of themselves, or say and no engine runs on (as
    where all are kept)."""
    llm, reason = search.task.llm, ""
    if not search.rent_all:
        fit, budget = fitness(llm, market.offers).fit, search.budget_usd_per_hour
        reason = transfer_reason(search.capacities, fit, found.chosen, budget, links=search.links)
    rented = {instance.offer_id for instance in found.chosen.instances}
    taken = [offer for offer in market.offers if offer.offer_id in rented]
    refused = fitness(llm, taken).refused
    wrong = [f"The engine may not run on all that is given: {refusals_in_words(refused)}"] if refused else []
    score = found.chosen.pairing.served_rps
    if score > found.bound_rps * (1 + ROUNDING):
        wrong.append(f"The score {score:.2f} is above its bound {found.bound_rps:.2f}: that bound is no proof.")
    return tuple(filter(None, (reason, *wrong, trust_in_words(taken))))


def task_of(llm: LlmSpec, workload: Workload, slo: Slo, max_model_len: int) -> Task:
    """What a plan's replicas are for."""
    longest = longest_request(llm, max_model_len)
    return Task(llm, demand_of(workload, longest), slo, longest)


def _check(budget_usd_per_hour: float, goal: Goal, workload: Workload, longest: int) -> None:
    if not 0 <= budget_usd_per_hour < float("inf"):
        raise SpecError(f"The budget is {budget_usd_per_hour} $/h; expected 0 or more.")
    if goal is Goal.COST and workload.rate_rps is None:
        raise SpecError(
            "Goal cost has no rate; expected requests/s to serve.", hint="Give --rate or [workload] rate_rps."
        )
    if (too_long := clipped_share(workload, longest)) > MOST_CUT:
        raise SpecError(
            f"{too_long:.0%} of the requests of {workload.name} are longer than {longest} tokens, which is all that a "
            f"replica admits; expected {MOST_CUT:.0%} at most.",
            hint="Raise [engine] max_model_len if the model allows it, or give a workload of shorter requests.",
        )


def _reason(search: Search, choice: Choice, rate_rps: float | None, found: Finding | None) -> Infeasible:
    """Which limit binds: what is on offer, the budget, or what simulation confirms."""
    least = buying.least_usd_per_hour(search, choice, rate_rps or buying.LEAST_RATE_RPS)
    if least is None:
        return too_much(search.task, rate_rps or 0.0, buying.most_of_all(search, choice))
    if found is None and least > search.budget_usd_per_hour:
        return too_dear(search.task, search.budget_usd_per_hour, least, rate_rps)
    return unconfirmed(search.task, rate_rps)
