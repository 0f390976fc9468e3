"""The panels of a simulated run's picture, each drawn into axes of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from planner.demand import Floats
from planner.deployment import Phase
from planner.workload import Slo
from thunderctl.plots.series import Use, Windows, cumulative

TTFT, TPOT, BOTH, LIMIT, QUIET = "#0072B2", "#D55E00", "#000000", "#444444", "#999999"
"""Okabe and Ito's blue and vermillion, which colour-blind readers tell apart, and greys."""
COMPUTING, HOLDING = colormaps["Blues"], colormaps["Oranges"]
"""A hue for each thing that fills up: white is unused, the darkest is full."""
SHADES = (0.25, 0.5, 1.0)
BESIDE_TITLE: dict[str, Any] = {
    "loc": "lower right",
    "bbox_to_anchor": (1.0, 1.0),
    "frameon": False,
    "borderaxespad": 0.2,
    "columnspacing": 1.2,
}
"""Legends stand above the panel, on the right, where no data is."""
PHASE_ORDER = (Phase.PREFILL, Phase.MIXED, Phase.DECODE)
MOST_NAMES = 40
"""Replicas that are named one by one; more are named by phase."""
MOST_TICKS = 10


@dataclass(frozen=True, slots=True)
class Clock:
    """How times of the run are written: in units of this many seconds, from 0 to the end."""

    unit: str
    unit_s: float
    end_s: float

    def of(self, seconds: Floats | float) -> Floats:
        return np.asarray(seconds) / self.unit_s


def clock_to(end_s: float) -> Clock:
    """Seconds, minutes or hours, whichever reads best over the run."""
    unit, unit_s = next((one for one in (("h", 3600.0), ("min", 60.0)) if end_s >= 10 * one[1]), ("s", 1.0))
    return Clock(unit, unit_s, max(end_s, 1e-3))


def draw_distribution(axes: Axes, name: str, values: Floats, requests: int, limit_s: float, colour: str) -> None:
    """Share of the requests at or below each latency, on a log axis, beside the SLO's limit."""
    x, share = cumulative(values, requests)
    low, high = _set_log_axis(axes, x[x > 0], limit_s)
    if len(x):
        steps = np.concatenate([[0.0], share, share[-1:]])
        axes.plot(np.clip([x[0], *x, high], low, high), steps, color=colour, linewidth=2, drawstyle="steps-post")
    axes.axvline(limit_s, color=LIMIT, linestyle="--", linewidth=1.2)
    within = float(np.mean(values <= limit_s))
    _name_limit(axes, limit_s, left=within < 0.5)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel("share of requests")
    axes.set_xlabel(f"{name} (s)")
    done = values[np.isfinite(values)]
    tail = " · ".join(f"p{p} {np.percentile(done, p):.3g} s" for p in (50, 90, 99)) if len(done) else "none ended"
    axes.set_title(f"{name}: {within:.1%} within the SLO of {limit_s:g} s\n{tail}", loc="left")


def draw_attainment(axes: Axes, found: Windows, slo: Slo, clock: Clock) -> None:
    """Share of the requests arriving in each window that met the SLO, and each of its targets."""
    edges = clock.of(found.edges_s)
    for values, name, colour, width in (
        (found.both, "both met", BOTH, 3.0),
        (found.ttft, "TTFT met", TTFT, 1.2),
        (found.tpot, "TPOT met", TPOT, 1.2),
    ):
        axes.stairs(values, edges, baseline=None, color=colour, linewidth=width, label=name)
    axes.axhline(slo.attainment, color=LIMIT, linestyle="--", linewidth=1.2, label=f"target {slo.attainment:.0%}")
    axes.set_ylim(-0.03, 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel("share of requests")
    axes.set_title("SLO attainment, by time of arrival", loc="left")
    axes.legend(**BESIDE_TITLE, ncols=4)


def draw_arrivals(axes: Axes, found: Windows, clock: Clock) -> None:
    """The load that explains the rest: arrivals in each window."""
    axes.stairs(found.arrival_rps, clock.of(found.edges_s), fill=True, color=QUIET)
    axes.set_ylim(0, None)
    axes.locator_params(axis="y", nbins=3)
    axes.set_ylabel("arrivals/s")


def draw_use(axes: Axes, names: Sequence[str], phases: Sequence[Phase], use: Use, clock: Clock) -> None:
    """One row a replica, grouped by phase: how much of it is used in each bucket of time, and in the whole run.

    A prefill replica is full when it computes all the time. The others compute whenever anybody decodes, be it one or a
    hundred: they are full when their KV is.
    """
    order = sorted(range(len(names)), key=lambda i: PHASE_ORDER.index(phases[i]))
    edges = clock.of(np.arange(use.share.shape[1] + 1) * use.bucket_s)
    prefill = np.array([phases[i] is Phase.PREFILL for i in order])
    for these, hue in ((prefill, COMPUTING), (~prefill, HOLDING)):
        if these.any():
            shown = np.where(these[:, None], use.share[order], np.nan)
            axes.pcolormesh(edges, np.arange(len(names) + 1), shown, cmap=hue, vmin=0, vmax=1)
    for row in range(1, len(names)):
        apart = phases[order[row]] is not phases[order[row - 1]]
        axes.axhline(row, color=LIMIT if apart else "white", linewidth=1.2 if apart else 0.8)
    axes.set_ylim(len(names), 0)
    rows, labels = _row_labels([names[i] for i in order], [phases[i] for i in order])
    axes.set_yticks(rows, labels)
    axes.tick_params(axis="y", length=0)
    if len(names) <= MOST_NAMES:
        means = axes.secondary_yaxis("right")
        means.set_yticks(rows, [_means(phases[i], use.mean[i], use.computing[i]) for i in order])
        means.tick_params(axis="y", length=0)
        means.spines["right"].set_visible(False)
    axes.grid(visible=False)
    axes.set_title("Use of each replica; means at the right", loc="left")
    legend = (("computes", COMPUTING, prefill.any()), ("KV held", HOLDING, not prefill.all()))
    handles = [_shade(hue, part, what) for what, hue, there in legend if there for part in SHADES]
    axes.legend(handles=handles, **BESIDE_TITLE, ncols=len(handles))


def set_time_axis(axes: Axes, clock: Clock, notes: Sequence[str]) -> None:
    axes.set_xlim(0, float(clock.of(clock.end_s)))
    axes.set_xlabel(" · ".join([f"time in the run ({clock.unit})", *notes]))


def _means(phase: Phase, part: float, computing: float) -> str:
    return f"{computing:.0%} computing" if phase is Phase.PREFILL else f"{part:.0%} KV, {computing:.0%} computing"


def _shade(hue: Colormap, part: float, what: str) -> Patch:
    """The first of a hue says what it shows, and of what."""
    label = f"{what} {part:.0%}" if part == SHADES[0] else f"{part:.0%}"
    return Patch(facecolor=hue(part), edgecolor=QUIET, linewidth=0.5, label=label)


def _name_limit(axes: Axes, limit_s: float, *, left: bool) -> None:
    """Beside the line, where the curve is not: above it on the left, or below it on the right."""
    axes.annotate(
        f"SLO {limit_s:g} s",
        (limit_s, 0.95 if left else 0.05),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if left else 4, 0),
        textcoords="offset points",
        rotation=90,
        ha="right" if left else "left",
        va="top" if left else "bottom",
        color=LIMIT,
    )


def _set_log_axis(axes: Axes, positive: Floats, limit_s: float) -> tuple[float, float]:
    """At least a decade wide, with the limit inside, and ticks that read as plain numbers. Its ends."""
    low, high = (min(limit_s, positive[0]), max(limit_s, positive[-1])) if len(positive) else (limit_s, limit_s)
    low, high = low / 1.2, high * 1.4
    low = min(low, high / 10)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(_log_ticks(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return low, high


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 in each decade, or 1 alone where those would be too many."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    fine = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
    return fine if sum(low <= tick <= high for tick in fine) <= MOST_TICKS else fine[::3]


def _row_labels(names: Sequence[str], phases: Sequence[Phase]) -> tuple[list[float], list[str]]:
    """Where labels stand, and what they say: every replica, or where these are many, every phase."""
    if len(names) <= MOST_NAMES:
        return [row + 0.5 for row in range(len(names))], [f"{p} {n}" for n, p in zip(names, phases, strict=True)]
    groups = {phase: [row for row, one in enumerate(phases) if one is phase] for phase in dict.fromkeys(phases)}
    return [sum(rows) / len(rows) + 0.5 for rows in groups.values()], [f"{len(r)} {p}" for p, r in groups.items()]
