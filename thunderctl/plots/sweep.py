"""Goodput against $/h: what a sweep over budgets found."""

from collections.abc import Sequence

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from planner.advice.frontier import Point
from planner.workload import Slo
from thunderctl.plots.figure import DPI, LOOK
from thunderctl.plots.panels import TPOT, TTFT

SIZE_IN = (8.0, 4.8)
ROOM = 1.08
"""Of an axis, times its largest value."""


def sweep_of(points: Sequence[Point], model: str, slo: Slo) -> Figure:
    """One panel: plans at what they cost, joined by what any larger budget still has."""
    with style.context(["default", LOOK]):
        figure = Figure(figsize=SIZE_IN, dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(_title(model, slo), x=0.01, ha="left", fontsize=10.5)
        _draw(figure.add_subplot(), points)
        return figure


def _draw(axes: Axes, points: Sequence[Point]) -> None:
    planned = [point for point in points if point.plan]
    cost = np.array([point.cost_usd_per_hour for point in planned])
    goodput = np.array([point.goodput_rps for point in planned])
    most_usd = max(point.budget_usd_per_hour for point in points)
    axes.step([*cost, most_usd], [*goodput, goodput[-1]], where="post", color=TTFT, linewidth=1.5, zorder=2)
    axes.plot(cost, goodput, "o", color=TTFT, markersize=5, zorder=3, label="a plan, its goodput simulated")
    none = [point.budget_usd_per_hour for point in points if not point.plan]
    if none:
        axes.plot(none, np.zeros(len(none)), "x", color=TPOT, label="no plan", clip_on=False)
    axes.set_xlim(0, most_usd * ROOM)
    axes.set_ylim(0, float(goodput.max()) * ROOM)
    axes.set_xlabel("$/h spent")
    axes.set_ylabel("requests/s")
    axes.legend(loc="lower right", frameon=False)


def _title(model: str, slo: Slo) -> str:
    targets = f"TTFT {slo.ttft_s:g} s and TPOT {slo.tpot_s:g} s at {slo.attainment:.0%} attainment"
    return f"What an hourly budget serves: {model}\n{targets}"
