"""A simulated run on one page: latencies above, and below them what happened over time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from planner.deployment import Phase, Plan
from planner.evaluate import outcomes
from planner.replay import Replay
from planner.workload import Slo
from thunderctl.plots.marks import draw_marks
from thunderctl.plots.panels import (
    TPOT,
    TTFT,
    clock_to,
    draw_arrivals,
    draw_attainment,
    draw_distribution,
    draw_use,
    set_time_axis,
)
from thunderctl.plots.series import use_of, windows

LOOK: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.6,
}
"""Over matplotlib's own defaults; what a user set for other pictures has no part in it."""
WIDTH_IN, DPI = 11.0, 110
LATENCIES_IN, ATTAINMENT_IN, ARRIVALS_IN, ROW_IN = 2.9, 2.3, 1.0, 0.22
FEWEST_ROWS, MOST_ROWS = 3, 40
"""Replicas whose rows the page grows by; more of them get thinner rows."""


@dataclass(frozen=True, slots=True)
class Caption:
    """What was simulated: the plan, the workload and its rate, and the seed."""

    plan: Plan
    workload: str
    rate_rps: float
    seed: int


def figure_of(run: Replay, slo: Slo, caption: Caption) -> Figure:
    """The page as a figure with an Agg canvas; nothing of matplotlib's global state is used or changed."""
    with style.context(["default", LOOK]):
        rows_in = ROW_IN * float(np.clip(len(run.replicas), FEWEST_ROWS, MOST_ROWS)) + 0.5
        heights = [LATENCIES_IN, ATTAINMENT_IN, ARRIVALS_IN, rows_in]
        figure = Figure(figsize=(WIDTH_IN, sum(heights) + 1.2), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(_title(run, slo, caption), x=0.01, ha="left", fontsize=10.5)
        if not len(run.requests.arrival_s):
            figure.text(0.5, 0.5, "no request was simulated", ha="center", fontsize=14)
            return figure
        _draw(figure, run, slo, heights)
        return figure


def save(figure: Figure, path: Path) -> None:
    """As PNG, without the date, so that the same run makes the same file."""
    figure.savefig(path, format="png", metadata={"Software": "thunderctl"})


def _draw(figure: Figure, run: Replay, slo: Slo, heights: list[float]) -> None:
    grid = figure.add_gridspec(4, 2, height_ratios=heights)
    found = outcomes(run.requests, run.timings)
    requests = len(found.ttft_s)
    ttft, tpot = (np.where(found.done, values, np.inf) for values in (found.ttft_s, found.tpot_s))
    draw_distribution(figure.add_subplot(grid[0, 0]), "TTFT", ttft, requests, slo.ttft_s, TTFT)
    draw_distribution(figure.add_subplot(grid[0, 1]), "TPOT", tpot, requests, slo.tpot_s, TPOT)
    arrival_s = run.requests.arrival_s
    clock = clock_to(max(run.timings.end_s, float(arrival_s.max())))
    by_time = windows(arrival_s, found, slo)
    attainment = figure.add_subplot(grid[1, :])
    arrivals = figure.add_subplot(grid[2, :], sharex=attainment)
    use = figure.add_subplot(grid[3, :], sharex=attainment)
    draw_attainment(attainment, by_time, slo, clock)
    draw_arrivals(arrivals, by_time, clock)
    draw_use(use, run.replicas, run.phases, use_of(run, clock.end_s), clock)
    set_time_axis(use, clock, draw_marks(attainment, arrivals, use, run.marks, clock))
    for axes in (attainment, arrivals):
        axes.tick_params(labelbottom=False)


def _title(run: Replay, slo: Slo, caption: Caption) -> str:
    """What this is, in three lines."""
    plan, measures = caption.plan, run.measures
    counts = [(phase, sum(one is phase for one in run.phases)) for phase in Phase]
    fleet = ", ".join(f"{number} {phase}" for phase, number in counts if number)
    guess = "" if plan.predicted.calibrated else " · uncalibrated: not all of it has measured rows"
    lost = measures.requests - measures.completed
    ended = [_counted(measures.requests, "request")]
    ended += [f"{lost:,} lost"] if lost else []
    ended += [f"{run.rejected:,} rejected as too long"] if run.rejected else []
    replicas = _counted(len(run.replicas), "replica")
    return "\n".join(
        (
            f"Simulated run of plan {plan.plan_id}: {plan.llm.name} on {replicas} ({fleet}){guess}",
            f"{caption.workload} at {caption.rate_rps:.3g} requests/s, seed {caption.seed}: {', '.join(ended)}",
            f"SLO attainment {measures.slo_attainment:.1%} (target {slo.attainment:.0%}), "
            f"goodput {measures.goodput_rps:.3g} requests/s",
        )
    )


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
