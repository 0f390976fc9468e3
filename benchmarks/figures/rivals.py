"""Our plan beside the baselines: each one's goodput as a part of ours, at the same money, on the same market."""

from collections.abc import Mapping
from math import exp, log
from typing import Any

from benchmarks.figures.canvas import Canvas

SHOWN = {
    "vllm": "vLLM, colocated",
    "cheapest-type": "cheapest GPU type",
    "distserve": "DistServe",
    "hexgen": "HexGen",
    "splitwise": "Splitwise",
    "helix": "Helix",
}
PITCH, LEFT, WIDTH, EVEN = 30.0, 160.0, 400.0, 0.99


def drawn(data: Mapping[str, Any]) -> Canvas:
    """From `benchmarks/results/baselines.json`: a dot a row of its table, a bar at the geometric mean."""
    rows = data["rows"]
    names = [name for name in rows[0]["goodput_rps"] if name != "thunderctl"]
    parts = {name: [row["goodput_rps"][name] / row["goodput_rps"]["thunderctl"] for row in rows] for name in names}
    names.sort(key=lambda name: -_mean(parts[name]))
    canvas = Canvas(
        760,
        150 + PITCH * (len(names) + 1),
        "Plans of thunderctl beside the baselines'",
        "For each baseline, its goodput as a part of thunderctl's at the same budget, in every market and workload.",
    )
    budgets = sorted({f"{row['budget_usd_per_hour']:g}" for row in rows}, key=float)
    canvas.heading(
        "The same money, planned by others",
        f"qwen3-32b, conversation and coding, {_markets(rows)}, budgets of {', '.join(budgets)} $/h; simulated",
    )
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = LEFT + share * WIDTH
        canvas.line([(x, 78), (x, 84 + PITCH * (len(names) + 1))], "l-rule thin")
        canvas.text(x, 102 + PITCH * (len(names) + 1), f"{share:.0%}", "s m c-soft")
    canvas.text(LEFT + WIDTH + 30, 102 + PITCH * (len(names) + 1), "of our goodput", "s c-soft")
    _bar(canvas, 0, "thunderctl", [1.0], "ours")
    for place, name in enumerate(names, 1):
        _bar(canvas, place, name, parts[name], "soft")
    return canvas


def _bar(canvas: Canvas, place: int, name: str, parts: list[float], colour: str) -> None:
    y = 84 + PITCH * place
    mean = _mean(parts)
    canvas.text(LEFT - 12, y + 14, SHOWN.get(name, name), f"e {'b c-ours' if colour == 'ours' else ''}".strip())
    canvas.rect(LEFT, y + 3, WIDTH * mean, 14, f"c-{colour}" if colour == "ours" else f"w-{colour}")
    if len(parts) > 1:
        for part in parts:
            canvas.dot(LEFT + WIDTH * part, y + 10, 2.5, "c-soft")
        canvas.line([(LEFT + WIDTH * mean, y + 1), (LEFT + WIDTH * mean, y + 19)], "l-ink")
        words = f"ours serves {1 / mean:.2f} ×" if mean < EVEN else "as much, nearly always"
        canvas.text(LEFT + WIDTH + 14, y + 14, words, "s c-soft")


def _mean(parts: list[float]) -> float:
    """Geometric, of those that serve anything."""
    served = [part for part in parts if part > 0]
    return exp(sum(map(log, served)) / len(served)) if served else 0.0


def _markets(rows: list[Mapping[str, Any]]) -> str:
    many = len({row["market"] for row in rows})
    return f"{many} market{'s' if many > 1 else ''}"
