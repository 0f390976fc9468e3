"""What more money buys: simulated goodput against $/h, and how far from the bound each search ended."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from benchmarks.figures.axes import Panel, ticks
from benchmarks.figures.canvas import Canvas

ROOM = 1.06
"""Of the upright axis, times its largest value."""
COLOURS = {"conversation": "ours", "coding": "second"}


def drawn(data: Mapping[str, Any]) -> Canvas:
    """From `benchmarks/results/budgets.json`."""
    sweeps = {name: sweep["points"] for name, sweep in data["sweeps"].items()}
    budgets = [point["budget_usd_per_hour"] for point in sweeps["conversation"]]
    canvas = Canvas(
        760,
        440,
        "Goodput against dollars an hour",
        "Each dot is a plan: what it costs, and the requests per second it serves within the latency targets.",
    )
    canvas.heading(
        "What an hourly budget serves",
        "qwen3-32b, TTFT 2 s and TPOT 0.15 s for 90 % of requests; simulated, prices of the package's snapshot",
    )
    most = max(point["goodput_rps"] for points in sweeps.values() for point in points)
    up = [value for value in ticks(most) if value <= most * ROOM]
    panel = Panel(64, 90, 560, 230, max(budgets) * 1.02, most * ROOM)
    panel.grid(canvas, budgets, up)
    panel.named(canvas, "budget, $/h", "requests/s")
    for row, (name, points) in enumerate(sweeps.items()):
        _line(canvas, panel, name, points)
        _gaps(canvas, panel, name, points, panel.bottom + 62 + 20 * row)
    canvas.text(
        panel.left - 8,
        panel.bottom + 40,
        "gap to what no legal plan of these offers exceeds: 1 − score ÷ bound",
        "s c-soft",
    )
    return canvas


def _line(canvas: Canvas, panel: Panel, name: str, points: Sequence[Mapping[str, Any]]) -> None:
    """Plans at what they cost; what a smaller budget found is kept until a larger one serves more."""
    colour = COLOURS[name]
    made = [(point["cost_usd_per_hour"], point["goodput_rps"]) for point in points]
    steps = [panel.at(*made[0])]
    for (_, before), (cost, goodput) in pairwise(made):
        steps += [panel.at(cost, before), panel.at(cost, goodput)]
    canvas.line([*steps, panel.at(panel.most_x, made[-1][1])], f"l-{colour}")
    for cost, goodput in made:
        canvas.dot(*panel.at(cost, goodput), 4, f"c-{colour}")
    canvas.text(panel.right + 10, panel.y(made[-1][1]) + 1, name, f"b c-{colour}")
    canvas.text(panel.right + 10, panel.y(made[-1][1]) + 17, f"{made[-1][1]:.0f} requests/s", f"s c-{colour}")


def _gaps(canvas: Canvas, panel: Panel, name: str, points: Sequence[Mapping[str, Any]], y: float) -> None:
    for point in points:
        gap = point["gap"]
        words = "–" if gap is None else f"{gap:.1%}"
        canvas.text(panel.x(point["budget_usd_per_hour"]), y, words, f"s m c-{COLOURS[name]}")
    canvas.text(panel.right + 10, y, name, f"s c-{COLOURS[name]}")
