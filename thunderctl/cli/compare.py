"""`thunderctl plan --compare`: the plan beside what others would do with the same money."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from planner.deployment import Plan
from thunderctl.cli.output import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from planner.baselines.compare import Compared
    from thunderctl.planning import Inputs


def compared_with(inputs: "Inputs", plan: Plan, say: Callable[[str], None]) -> "tuple[Plan, tuple[Compared, ...]]":
    """The plan with every baseline among its alternatives, and what was found of each.

    They have the plan's budget or, where it sought the least cost, what it costs.
    """
    from planner.baselines.compare import BASELINES, beside, compared
    from planner.baselines.setting import Setting
    from planner.plan import Goal

    budget = plan.cost_usd_per_hour if inputs.goal is Goal.COST else plan.budget_usd_per_hour
    capacities = inputs.capacities(plan.llm)
    setting = Setting(capacities, inputs.market.offers, budget, inputs.links, fixed=inputs.fixed, seed=inputs.seed)
    say(f"comparing with {', '.join(BASELINES)}")
    found = []
    for one in compared(setting):
        say(f"{one.name}: {one.goodput_rps:.2f} requests/s for {one.usd_per_hour:.2f} $/h ({one.seconds:.1f} s)")
        found.append(one)
    return beside(plan, found), tuple(found)


def compare_table(plan: Plan, found: "Sequence[Compared]") -> "RenderableType":
    """One row a system, the plan first: what it serves, what it costs, and the plan's goodput by it."""
    own = plan.predicted.goodput_rps
    rows = [("this plan", f"{own:.2f}", f"{plan.cost_usd_per_hour:.2f}", _per_usd(own, plan.cost_usd_per_hour), "1.00")]
    rows += [
        (
            one.name,
            f"{one.goodput_rps:.2f}",
            f"{one.usd_per_hour:.2f}",
            _per_usd(one.goodput_rps, one.usd_per_hour),
            f"{own / one.goodput_rps:.2f}" if one.goodput_rps else "serves nothing",
        )
        for one in found
    ]
    columns = ("system", "goodput", "$/h", "per $/h", "plan ÷ it")
    title = f"Beside baselines, for at most {plan.budget_usd_per_hour:g} $/h (requests/s, simulated)"
    return table(title, columns, rows, right=columns[1:])


def _per_usd(rps: float, usd_per_hour: float) -> str:
    return f"{rps / usd_per_hour:.2f}" if usd_per_hour else "-"
