"""A sweep never serves less for more, and names the budgets that have no plan."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.advice.frontier import frontier, frontier_to_json
from planner.errors import Infeasible


def planner_of(split_plan, goodput_at):
    """Plans whose goodput is given by budget; None for none."""

    def plan_within(budget):
        if goodput_at[budget] is None:
            raise Infeasible(f"The budget is {budget}.")
        predicted = replace(split_plan.predicted, goodput_rps=goodput_at[budget])
        return replace(
            split_plan, plan_id=f"p{budget}", budget_usd_per_hour=budget, cost_usd_per_hour=budget, predicted=predicted
        )

    return plan_within


def test_what_a_smaller_budget_pays_for_is_kept_where_a_larger_one_finds_nothing_better(split_plan):
    points = frontier([20.0, 5.0, 10.0], planner_of(split_plan, {5.0: 1.0, 10.0: 3.0, 20.0: 2.5}))
    assert [point.budget_usd_per_hour for point in points] == [5.0, 10.0, 20.0]
    assert [point.goodput_rps for point in points] == [1.0, 3.0, 3.0]
    assert [point.cost_usd_per_hour for point in points] == [5.0, 10.0, 10.0]
    assert [point.is_own for point in points] == [True, True, False]


def test_budgets_without_a_plan_say_why(split_plan):
    document = frontier_to_json(frontier([1.0, 5.0], planner_of(split_plan, {1.0: None, 5.0: 2.0})))
    assert document["schema"] == "thunder.pareto/v1"
    first, second = document["points"]
    assert first == {
        "budget_usd_per_hour": 1.0,
        "cost_usd_per_hour": 0.0,
        "goodput_rps": 0.0,
        "reason": "The budget is 1.0.",
    }
    assert (second["goodput_rps"], second["plan_id"], second["gap"]) == (2.0, "p5.0", split_plan.bound.gap)


def test_a_gap_to_the_bound_of_a_smaller_budget_is_not_given(split_plan):
    points = frontier([5.0, 10.0], planner_of(split_plan, {5.0: 3.0, 10.0: 2.0}))
    assert frontier_to_json(points)["points"][1]["gap"] is None


def test_a_sweep_that_finds_no_plan_is_infeasible(split_plan):
    with pytest.raises(Infeasible, match=r"budget is 2\.0"):
        frontier([1.0, 2.0], planner_of(split_plan, {1.0: None, 2.0: None}))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.integers(1, 60).map(float), st.one_of(st.none(), st.floats(0.1, 99.0)), min_size=1))
def test_more_money_never_serves_less_nor_costs_more_than_it_is(split_plan, goodput_at):
    if not any(goodput_at.values()):
        return
    points = frontier(list(goodput_at), planner_of(split_plan, goodput_at))
    assert [point.budget_usd_per_hour for point in points] == sorted(goodput_at)
    goodput = [point.goodput_rps for point in points]
    assert goodput == sorted(goodput)
    assert all(point.cost_usd_per_hour <= point.budget_usd_per_hour for point in points)
