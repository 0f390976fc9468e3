"""A sweep over budgets as a table people can read."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from planner.advice.frontier import Point
from thunderctl.cli.output import table

if TYPE_CHECKING:
    from rich.console import RenderableType


def frontier_table(points: Sequence[Point]) -> "RenderableType":
    """One row a budget: what is spent, what it serves, and what the last dollars bought."""
    columns = ("budget $/h", "spent $/h", "goodput", "per $/h", "gap", "GPUs", "replicas")
    rows = [_row(point) for point in points]
    return table("Goodput (requests/s, simulated) against budget", columns, rows, right=columns[:5])


def _row(point: Point) -> tuple[str, ...]:
    budget, made = f"{point.budget_usd_per_hour:g}", point.plan
    if made is None:
        return (budget, "-", "-", "-", "-", "no plan", point.reason)
    cost = point.cost_usd_per_hour
    each = f"{point.goodput_rps / cost:.2f}" if cost else "-"
    counted = [(phase, sum(replica.phase is phase for replica in made.replicas)) for phase in _phases(point)]
    gpus: dict[str, int] = {}
    for instance in made.instances:
        gpus[instance.gpu] = gpus.get(instance.gpu, 0) + instance.gpu_count
    return (
        budget,
        f"{cost:.2f}",
        f"{point.goodput_rps:.2f}",
        each,
        f"{made.bound.gap:.1%}" if point.is_own else "-",
        ", ".join(f"{count} x {name}" for name, count in sorted(gpus.items())),
        ", ".join(f"{count} {phase}" for phase, count in counted),
    )


def _phases(point: Point) -> list[str]:
    return sorted({replica.phase for replica in point.plan.replicas}) if point.plan else []
