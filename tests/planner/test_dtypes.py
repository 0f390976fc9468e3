"""Of the allowed weight dtypes the best plan wins, and says what it beat."""

from dataclasses import replace

import pytest

from planner.dtypes import best_dtype
from planner.errors import Infeasible
from planner.models import llm_named
from planner.plan import Goal

LLMS = tuple(llm_named("llama-3.1-8b", dtype) for dtype in ("bfloat16", "fp8", "awq"))


def planner_of(split_plan, found):
    """(goodput, cost) by dtype; None for no plan."""

    def plan_for(llm):
        if found[llm.dtype] is None:
            raise Infeasible(f"{llm.dtype} does not fit.")
        goodput, cost = found[llm.dtype]
        predicted = replace(split_plan.predicted, goodput_rps=goodput)
        return replace(
            split_plan, llm=llm, dtype=llm.dtype, cost_usd_per_hour=cost, predicted=predicted, alternatives=()
        )

    return plan_for


def test_the_most_goodput_wins_and_the_others_are_alternatives(split_plan):
    plan_for = planner_of(split_plan, {"bfloat16": (3.0, 5.0), "fp8": (5.0, 4.5), "awq": (4.0, 4.0)})
    best = best_dtype(LLMS, plan_for, Goal.GOODPUT)
    assert best.dtype == "fp8"
    assert [(other.name, other.goodput_rps) for other in best.alternatives] == [
        ("bfloat16 weights", 3.0),
        ("awq weights", 4.0),
    ]
    assert any("fp8 weights were chosen" in note for note in best.notes)
    assert best.plan_id != split_plan.plan_id


def test_for_goal_cost_the_cheapest_wins(split_plan):
    plan_for = planner_of(split_plan, {"bfloat16": (3.0, 5.0), "fp8": (5.0, 4.5), "awq": (4.0, 4.0)})
    assert best_dtype(LLMS, plan_for, Goal.COST).dtype == "awq"


def test_a_dtype_without_a_plan_is_named(split_plan):
    plan_for = planner_of(split_plan, {"bfloat16": None, "fp8": (5.0, 4.5), "awq": None})
    best = best_dtype(LLMS, plan_for, Goal.GOODPUT)
    assert best.dtype == "fp8"
    assert "With bfloat16 weights there is no plan: bfloat16 does not fit." in best.notes


def test_without_any_plan_every_dtypes_reason_is_given(split_plan):
    with pytest.raises(
        Infeasible, match=r"With bfloat16 weights: bfloat16 does not fit\. With fp8 weights: fp8 does not"
    ):
        best_dtype(LLMS, planner_of(split_plan, dict.fromkeys(("bfloat16", "fp8", "awq"))), Goal.GOODPUT)


def test_a_single_dtype_is_planned_as_it_is(split_plan):
    plan_for = planner_of(split_plan, {"bfloat16": (3.0, 5.0)})
    assert best_dtype(LLMS[:1], plan_for, Goal.GOODPUT) == plan_for(LLMS[0])
