"""SLO attainment through the loss of a replica: what the router alone keeps up, and what a rebalance restores."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.figures.axes import Panel
from benchmarks.figures.canvas import Canvas, Point


def drawn(data: Mapping[str, Any]) -> Canvas:
    """From `benchmarks/results/through_failure.json`."""
    canvas = Canvas(
        760,
        400,
        "SLO attainment through a failure",
        "The largest prefill replica is lost at two minutes. With the router alone attainment falls to about three "
        "quarters and stays there; when the controller rebalances phases, it is back above the target at once.",
    )
    canvas.heading(
        "A prefill replica is lost",
        f"by {data['window_s']:g} s of arrivals, {data['runs']} simulated runs; ThunderServe's published coding plan, "
        f"{data['rate_rps']:g} requests/s",
    )
    window = data["window_s"]
    ways = data["attainment"]
    lasts = window * len(ways["router"])
    panel = Panel(64, 96, 500, 232, lasts, 1.0, low_y=0.5)
    every = [60.0 * minute for minute in range(int(lasts // 60) + 1)]
    panel.grid(canvas, every, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0], x_text=lambda s: f"{s / 60:g}", y_text="{:.0%}".format)
    panel.named(canvas, "minutes", "requests within their SLO")
    target = data["attainment_target"]
    canvas.line([panel.at(0, target), panel.at(lasts, target)], "l-soft thin dash")
    canvas.text(panel.right + 10, panel.y(target) + 4, f"target, {target:.0%}", "s c-soft")
    lost = data["lost_at_s"]
    canvas.line([panel.at(lost, 0.5), panel.at(lost, 1.0)], "l-bad thin")
    canvas.text(panel.x(lost) + 6, panel.bottom - 10, f"{data['lost']} is lost", "s c-bad")
    for name, colour in (("router", "second"), ("controller", "ours")):
        canvas.line(_middles(panel, ways[name], window), f"l-{colour}")
    _end(canvas, panel, ways["controller"], "ours", ("rebalanced", f"{data['in_force_s']:g} s after the loss"))
    _end(canvas, panel, ways["router"], "second", ("router alone", "over the routes left"))
    return canvas


def _middles(panel: Panel, shares: Sequence[float], window: float) -> list[Point]:
    return [panel.at((i + 0.5) * window, max(share, panel.low_y)) for i, share in enumerate(shares)]


def _end(canvas: Canvas, panel: Panel, shares: Sequence[float], colour: str, words: tuple[str, str]) -> None:
    """The name of a line, at the height of its last quarter."""
    last = shares[-len(shares) // 4 :]
    y = panel.y(sum(last) / len(last))
    canvas.text(panel.right + 10, y, words[0], f"b c-{colour}")
    canvas.text(panel.right + 10, y + 16, words[1], f"s c-{colour}")
