"""Weight dtypes as a choice: a plan for each that is allowed, and the one that does best."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from planner.deployment import Alternative, Plan
from planner.document import plan_id
from planner.errors import Infeasible
from planner.llm import LlmSpec
from planner.plan import Goal


def best_dtype(llms: Sequence[LlmSpec], plan_for: Callable[[LlmSpec], Plan], goal: Goal) -> Plan:
    """The plan with the most goodput or, for goal cost, the cheapest; the others are named as alternatives.

    A dtype without a plan is named in a note. Raises Infeasible, which names them all, where none has one.
    """
    made: list[Plan] = []
    failed: list[tuple[LlmSpec, Infeasible]] = []
    for llm in llms:
        try:
            made.append(plan_for(llm))
        except Infeasible as error:
            failed.append((llm, error))
    if not made:
        raise _none(failed)
    if len(llms) == 1:
        return made[0]
    best = min(made, key=lambda plan: _rank(plan, goal))
    return _with_others(best, [plan for plan in made if plan is not best], failed)


def _none(failed: Sequence[tuple[LlmSpec, Infeasible]]) -> Infeasible:
    first = failed[0][1]
    if len(failed) == 1:
        return first
    return Infeasible(" ".join(f"With {llm.dtype} weights: {error.message}" for llm, error in failed), hint=first.hint)


def _rank(plan: Plan, goal: Goal) -> tuple[float, float]:
    """The least is the best; the other figure decides between equals."""
    cost, goodput = plan.cost_usd_per_hour, plan.predicted.goodput_rps
    return (cost, -goodput) if goal is Goal.COST else (-goodput, cost)


def _with_others(best: Plan, others: Sequence[Plan], failed: Sequence[tuple[LlmSpec, Infeasible]]) -> Plan:
    beaten = [
        Alternative(f"{plan.dtype} weights", plan.predicted.goodput_rps, plan.cost_usd_per_hour) for plan in others
    ]
    notes = [f"{best.dtype} weights were chosen: this needs a checkpoint stored so. Answers may differ in quality."]
    notes += [f"With {llm.dtype} weights there is no plan: {error.message}" for llm, error in failed]
    whole = replace(best, alternatives=(*best.alternatives, *beaten), notes=(*best.notes, *notes))
    return replace(whole, plan_id=plan_id(whole))
