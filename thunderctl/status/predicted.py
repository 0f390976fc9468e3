"""What was simulated for the routes in force, beside which `status` shows what is observed. Pure."""

from typing import Any

from planner.deployment import Plan
from runtime.messages import Routes
from thunderctl.observing.observe import phases_in_force

FIGURES = ("goodput_rps", "slo_attainment", "ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s")


def predicted_entry(plan: Plan | None, routes: Routes | None) -> dict[str, Any]:
    """The plan's figures, while its routes are in force or none are; else null, and the `reason` for that in words.

    Routes over what a loss or a drain has left are of the same plan: what it promised was for all of it.
    """
    if plan is None:
        return {}
    reason = _difference(plan, routes) if routes is not None else ""
    figures = {key: None if reason else getattr(plan.predicted, key) for key in FIGURES}
    return {**figures, "calibrated": plan.predicted.calibrated, "reason": reason}


def _difference(plan: Plan, routes: Routes) -> str:
    """How the routes are not the plan's; empty where they are."""
    phases = phases_in_force(routes)
    if without := [one.id for one in plan.replicas if one.id not in phases]:
        return f"not simulated without {', '.join(without)}"
    if routes.plan_id not in ("", plan.plan_id):
        return f"not simulated: routes in force are of plan {routes.plan_id}"
    planned = {(one.prefill, one.decode) for one in plan.routes}
    same = all(phases[one.id] is one.phase for one in plan.replicas)
    if same and {(one.prefill, one.decode) for one in routes.routes} == planned:
        return ""
    return "not simulated: routes in force are not the plan's"
