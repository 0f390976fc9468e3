"""Attainment over the SLO's scale, of every competitor at one rate: what the deadlines of the table are read off."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from benchmarks.paper_cells import ATTAINMENT, OURS, PUBLISHED, QUANTILES, Solved

SHOWN = {
    OURS: ("tab:blue", "-"),
    PUBLISHED: ("tab:orange", "-"),
    "vllm": ("tab:green", "--"),
    "distserve": ("tab:red", "--"),
    "hexgen": ("tab:purple", "--"),
    "splitwise": ("tab:brown", ":"),
    "helix": ("tab:pink", ":"),
    "vllm on 8 A100": ("black", "-."),
}
"""Colour and line of each."""
WIDEST = 64.0


def draw(cells: Sequence[Solved], target: Path) -> None:
    """One panel a cell, two in a row."""
    figure, panels = plt.subplots(-(-len(cells) // 2), 2, figsize=(11, 8), sharex=True, sharey=True, squeeze=False)
    for panel, one in zip(panels.flat, cells, strict=False):
        for name, (colour, line) in SHOWN.items():
            found = one.results.get(name)
            if found and found.scales:
                panel.plot(found.scales, QUANTILES, line, color=colour, label=f"{name}, {found.usd_per_hour:.2f} $/h")
        panel.axhline(ATTAINMENT, color="grey", linewidth=0.8)
        panel.set_xscale("log", base=2)
        panel.set_xlim(1.0, WIDEST)
        panel.set_ylim(0.0, 1.02)
        panel.xaxis.set_major_formatter("{x:g}")
        cell = one.cell
        panel.set_title(
            f"{cell.workload}, {cell.basis} basis, {cell.gbit_per_s:g} Gbit/s, {one.rate_rps:.2f} requests/s",
            fontsize=10,
        )
    for panel in panels[-1]:
        panel.set_xlabel("SLO scale")
    figure.supylabel("share of requests that meet it (simulated)")
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.legend(*panels.flat[0].get_legend_handles_labels(), fontsize=8, loc="lower center", ncols=4)
    figure.savefig(target, dpi=90)
    plt.close(figure)
