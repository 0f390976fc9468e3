"""How the routes in force do under what was observed, and how other ones would: a search only where it can pay.

Pure, and slow by a controller's measure (simulated runs), so it is asked in a thread. Who simulates a large fleet gives
a `score` and a `search` of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TypeAlias

from planner.deployment import Plan
from planner.errors import Infeasible, SolverFailed, SpecError
from planner.quick_rebalance import attainment, quick_rebalance
from planner.rebalance import rebalance
from planner.workload import Workload
from thunderctl.controller.adapting.assessment import Assessment, Proposal, Question, reason_of
from thunderctl.controller.adapting.likeness import alike
from thunderctl.deploying.lifecycle import differ, flips_between

Scorer: TypeAlias = Callable[[Question, Plan, Workload], float]
"""Attainment of a plan under a workload, over the links that the question names."""
Searcher: TypeAlias = Callable[[Question, Workload], Plan | None]
"""Phases and routes of the question's replicas that suit a workload best; None where none serves anything."""


def simulated(question: Question, plan: Plan, workload: Workload) -> float:
    """By one simulated run."""
    return attainment(plan, workload, links=question.links)


def searched(question: Question, workload: Workload) -> Plan | None:
    """By the search of a rebalance, unconfirmed."""
    try:
        return quick_rebalance(question.plan, workload, codec=question.codec, links=question.links)
    except (Infeasible, SpecError, SolverFailed):
        return None


def assess(
    question: Question, *, least_gain: float, score: Scorer = simulated, search: Searcher = searched
) -> Assessment:
    """Judge. Where less than `least_gain` is left to be had, no better routes are looked for."""
    known = Assessment(question.at, question.epoch, question.workload, moved=question.moved)
    if question.workload is None or question.workload.rate_rps is None:
        return known
    if (same := _still_holds(question)) is not None:
        return same
    now = _mean(question, question.plan, score)
    best = replace(known, judged=question.workload, now=now, best=now)
    if 1 - now < least_gain:
        return best
    for workload in _to_suit(question.workload, question.past):
        plan = search(question, workload)
        if plan is None or not differ(question.plan, plan):
            continue
        found = _mean(question, plan, score)
        if best.best is None or found > best.best:
            best = replace(best, best=found, plan=plan, suited=workload)
    return best if best.plan is None else replace(best, flips=tuple(flips_between(question.plan, best.plan)))


def confirmed(
    question: Question, found: Assessment, *, least_gain: float, score: Scorer = simulated
) -> Proposal | None:
    """What an assessment promises, decided again with the long runs of a rebalance; None if less than that is left."""
    assert found.suited is not None
    assert found.now is not None
    try:
        plan = rebalance(question.plan, found.suited, codec=question.codec, links=question.links).plan
    except (Infeasible, SpecError, SolverFailed):
        return None
    best = _mean(question, plan, score)
    if best - found.now < least_gain:
        return None
    flips = tuple(flips_between(question.plan, plan))
    sure = replace(found, best=best, plan=plan, flips=flips)
    return Proposal(found.at, found.epoch, plan, flips, reason_of(sure, question.plan.workload))


def mixture(workloads: Sequence[Workload]) -> Workload:
    """All of them as one, at their mean rate."""
    lengths = tuple(pair for workload in workloads for pair in workload.lengths)
    return replace(workloads[0], lengths=lengths, rate_rps=fmean(one.rate_rps or 0.0 for one in workloads))


def _still_holds(question: Question) -> Assessment | None:
    """What was known, where that was to leave all as it is, and nothing has changed since but by chance."""
    known, seen = question.known, question.workload
    if known is None or known.judged is None or seen is None or known.plan is not None or question.past:
        return None
    same = (known.epoch, known.moved) == (question.epoch, question.moved) and alike(known.judged, seen)
    return replace(known, at=question.at, workload=seen) if same else None


def _to_suit(present: Workload, past: Sequence[Workload]) -> tuple[Workload, ...]:
    """The present one and, where there is a past to suit as well, all of it together."""
    return (present, mixture((present, *past))) if past else (present,)


def _mean(question: Question, plan: Plan, score: Scorer) -> float:
    """Attainment over all that the plan has to suit."""
    assert question.workload is not None
    return fmean(score(question, plan, workload) for workload in (question.workload, *question.past))
