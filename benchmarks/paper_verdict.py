"""What the cells of the paper's table come to: every ratio's least, mean and most, and where ours is beaten."""

from collections.abc import Callable, Sequence
from math import isfinite, isnan

from benchmarks.paper_cells import OURS, PUBLISHED, Solved
from benchmarks.paper_tables import a100_ratios, mean, most, number, over, row, sweeps, tighter, times
from planner.baselines.compare import BASELINES

LEAST = 1.0
"""The gate: ours ÷ any other on the same fleet is never less."""
EQUAL = 0.005
"""Goodputs this near are equal: it is searched for in steps that are larger."""


def verdict(cells: Sequence[Solved]) -> list[str]:
    """Every ratio's least, mean and most, beside the paper's. The mean is of those that are finite."""
    lines = row("ours ÷ …", "cells", "least", "geometric mean of finite ones", "most", "the paper's")
    lines += row("---", *["--:"] * 4, "---")
    ratios = [(name, [of(one) for one in cells], claimed) for name, of, claimed in VERDICTS]
    ratios += [(name, [tighter(swept)[place] for swept in sweeps(cells)], claimed) for name, place, claimed in TIGHTER]
    for name, every, claimed in ratios:
        found = [x for x in every if not isnan(x)]
        finite = [x for x in found if isfinite(x) and x > 0]
        if finite:
            lines += row(name, str(len(found)), times(min(found)), times(mean(finite)), times(max(found)), claimed)
    return lines


def lost(cells: Sequence[Solved]) -> list[str]:
    """Where the gate is not held, by whom; empty if it is."""
    found = []
    for one in cells:
        for name in (PUBLISHED, *BASELINES):
            if name in one.results and over(one, [name]) < LEAST - EQUAL:
                rates = number(one.results[OURS].goodput_rps), number(one.results[name].goodput_rps)
                found.append(f"- {one.cell}: {rates[0]} against {rates[1]} of {name}.")
    return found


def a100_over(place: int) -> Callable[[Solved], float]:
    def of(one: Solved) -> float:
        eight, six = (most(one.results[f"{name} on {n} A100"] for name in ("vllm", "distserve")) for n in (8, 6))
        return a100_ratios(one.results[OURS], eight, six)[place]

    return of


VERDICTS: tuple[tuple[str, Callable[[Solved], float], str], ...] = (
    ("the published plan: goodput", lambda one: over(one, [PUBLISHED]), "-"),
    ("the best baseline on the same GPUs: goodput", lambda one: over(one, BASELINES), "-"),
    ("HexGen on the same GPUs: goodput", lambda one: over(one, ["hexgen"]), "about 1.3"),
    ("the best on 8 A100, as they are: goodput", a100_over(0), "-"),
    ("the best on 8 A100: goodput a dollar", a100_over(1), "2.1 at most, 1.7 on average, at equal price"),
    ("the best on 6 A100, equal money: goodput", a100_over(2), "the same"),
)
TIGHTER = (
    ("the published plan: how much tighter a deadline", 0, "-"),
    ("the best baseline: how much tighter a deadline", 1, "2.5 at most, 1.5 on average"),
)
"""What is compared, of which cell, and what the paper says of it."""
