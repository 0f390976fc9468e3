"""A sweep as a picture: every plan at what it costs, and budgets without one."""

from dataclasses import replace

from planner.advice.frontier import Point
from planner.workload import Slo
from thunderctl.plots.sweep import sweep_of


def at(plan, budget, goodput):
    predicted = replace(plan.predicted, goodput_rps=goodput)
    return Point(budget, replace(plan, cost_usd_per_hour=budget - 0.5, predicted=predicted))


def test_plans_stand_at_their_cost_and_budgets_without_one_on_the_floor(plan):
    figure = sweep_of([Point(1.0, None, "too dear"), at(plan, 5.0, 3.0), at(plan, 9.0, 6.0)], "some-model", Slo())
    (axes,) = figure.axes
    by_label = {line.get_label(): line for line in axes.lines}
    plans = by_label["a plan, its goodput simulated"]
    assert (list(plans.get_xdata()), list(plans.get_ydata())) == ([4.5, 8.5], [3.0, 6.0])
    assert list(by_label["no plan"].get_xdata()) == [1.0]
    assert "some-model" in figure.get_suptitle()
    assert axes.get_xlim()[1] >= 9.0
    assert axes.get_ylim()[0] == 0.0
