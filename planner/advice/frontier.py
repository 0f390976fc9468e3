"""Goodput against budget: the Pareto frontier, one plan a budget, each no worse than any cheaper one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from planner.deployment import Plan
from planner.errors import Infeasible

PARETO_SCHEMA = "thunder.pareto/v1"


@dataclass(frozen=True, slots=True)
class Point:
    """The best plan known within a budget, or why there is none."""

    budget_usd_per_hour: float
    plan: Plan | None
    reason: str = ""

    @property
    def goodput_rps(self) -> float:
        return self.plan.predicted.goodput_rps if self.plan else 0.0

    @property
    def is_own(self) -> bool:
        """Was the plan made for this budget? A bound on what a smaller one can do says nothing here."""
        return self.plan is not None and self.plan.budget_usd_per_hour == self.budget_usd_per_hour

    @property
    def cost_usd_per_hour(self) -> float:
        return self.plan.cost_usd_per_hour if self.plan else 0.0


def frontier(budgets: Sequence[float], plan_within: Callable[[float], Plan]) -> tuple[Point, ...]:
    """A point a budget, by budget. What a smaller budget pays for is kept where a larger one finds nothing better.

    Raises Infeasible, of the largest budget, where no budget has a plan.
    """
    points: list[Point] = []
    failure: Infeasible | None = None
    for budget in sorted(budgets):
        try:
            point = Point(budget, plan_within(budget))
        except Infeasible as error:
            failure, point = error, Point(budget, None, error.message)
        best = points[-1] if points else point
        points.append(point if point.goodput_rps > best.goodput_rps else replace(best, budget_usd_per_hour=budget))
    if failure and not any(point.plan for point in points):
        raise failure
    return tuple(points)


def frontier_to_json(points: Sequence[Point]) -> dict[str, Any]:
    """`thunder.pareto/v1`."""
    return {"schema": PARETO_SCHEMA, "points": [_point_to_json(point) for point in points]}


def _point_to_json(point: Point) -> dict[str, Any]:
    found = {
        "budget_usd_per_hour": point.budget_usd_per_hour,
        "cost_usd_per_hour": point.cost_usd_per_hour,
        "goodput_rps": point.goodput_rps,
    }
    if point.plan is None:
        return found | {"reason": point.reason}
    made = point.plan
    return found | {
        "plan_id": made.plan_id,
        "dtype": made.dtype,
        "objective_rps": made.search.objective_rps,
        "gap": made.bound.gap if point.is_own else None,
    }
