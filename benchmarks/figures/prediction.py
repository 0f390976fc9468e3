"""How far the cost model's times lie from published measurements, beside a naive roofline's."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from benchmarks.figures.canvas import Canvas

PITCH, LEFT, WIDTH, MOST = 26.0, 210.0, 440.0, 60.0


def drawn(data: Mapping[str, Any]) -> Canvas:
    """From `benchmarks/results/cost_model.json`: a row a GPU and phase, its groups weighted by their rows."""
    found = _by_gpu(data["groups"])
    rows = sum(group["rows"] for group in data["groups"])
    bottom = 92 + PITCH * len(found)
    canvas = Canvas(
        760,
        bottom + 52,
        "The cost model's error by GPU",
        "Mean absolute error of predicted times for prefill and decode on each GPU type, beside a naive roofline's.",
    )
    canvas.heading(
        "How far predicted times lie from measured ones",
        f"mean absolute error over {rows:,} published measurements, to which the model was fitted",
    )
    for share in range(0, int(MOST) + 1, 10):
        x = LEFT + share / MOST * WIDTH
        canvas.line([(x, 80), (x, bottom)], "l-rule thin")
        canvas.text(x, bottom + 18, f"{share} %", "s m c-soft")
    for place, ((gpu, phase), (ours, naive)) in enumerate(found.items()):
        y = 92 + PITCH * place + 6
        canvas.text(LEFT - 14, y + 4, f"{gpu}, {phase}", "s e")
        here, there = (LEFT + min(value, MOST) / MOST * WIDTH for value in (ours, naive))
        canvas.line([(here, y), (there, y)], "l-rule")
        canvas.dot(there, y, 5, "c-soft")
        canvas.dot(here, y, 5, "c-ours")
        if not place:
            canvas.text(here + 6, y - 13, "thunderctl", "s b e c-ours")
            canvas.text(there - 6, y - 13, "naive roofline", "s c-soft")
    return canvas


def _by_gpu(groups: list[Mapping[str, Any]]) -> dict[tuple[str, str], tuple[float, float]]:
    of: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for group in groups:
        of[group["gpu"], group["phase"]].append(group)
    means = {key: (_weighted(of[key], "mape"), _weighted(of[key], "naive")) for key in sorted(of)}
    return dict(sorted(means.items(), key=lambda item: (item[0][0], item[0][1] == "decode")))


def _weighted(groups: list[Mapping[str, Any]], name: str) -> float:
    rows = sum(group["rows"] for group in groups)
    return float(sum(group[name] * group["rows"] for group in groups) / rows)
