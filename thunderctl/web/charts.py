"""Charts of the series: which there are, and where their lines run. Pure; templates write them as SVG.

Axes begin at 0. Where points are many, one stands for those of some seconds: the worst of them, as a mean would hide
what clients felt. Where nobody measured for a while there is a gap.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from thunderctl import words
from thunderctl.web.kinds import KINDS, Kind, Write
from thunderctl.web.scales import Scale, scale_over, times_of, window_over

MOST_COLUMNS = 180
HELD_S = 20.0
"""A line goes on over a shorter time without a point."""
WIDTH = 1000.0
"""Of the picture that lines are drawn in, stretched to what there is; its height is 100."""

Points = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    style: str
    path: str
    latest: str


@dataclass(frozen=True, slots=True)
class Chart:
    """As the template wants it: positions are percents of the plot's width and height."""

    chart_id: str
    title: str
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]
    times: tuple[tuple[float, str], ...]
    target_at: float | None
    target: str
    summary: str
    readings: str
    """For who points at it: `x|time|value|value;…`, x in percent."""

    @property
    def is_empty(self) -> bool:
        return not any(line.path for line in self.lines)


def charts_of(status: Mapping[str, Any], points: Points) -> tuple[Chart, ...]:
    """All of them, over the same window, which ends with the newest point."""
    targets = {
        **(status.get("slo") or {}),
        "goodput_rps": (status.get("predicted") or {}).get("goodput_rps"),
        "usd_per_hour": status.get("budget_usd_per_hour"),
    }
    end = float(points[-1]["at"]) if points else float(status.get("at", 0.0))
    window_s = window_over(end - float(points[0]["at"])) if points else window_over(0.0)
    return tuple(_chart(kind, points, end, window_s, targets.get(kind.target)) for kind in KINDS)


def _chart(kind: Kind, points: Points, end: float, window_s: float, target: float | None) -> Chart:
    columns = [_columns(points, key, end, window_s, kind.worst) for key, _, _ in kind.lines]
    known = [value for column in columns for _, value in column]
    most = max([*known, kind.least_top, *([target] if target else [])], default=0.0)
    scale = Scale(1.0, 0.25) if kind.least_top == 1.0 else scale_over(most)
    lines = tuple(
        Line(name, style, _path(column, scale, end, window_s), kind.write(column[-1][1]) if column else "-")
        for (_, name, style), column in zip(kind.lines, columns, strict=True)
    )
    said = ", ".join(f"{line.name} {line.latest}" for line in lines)
    held_to = f"{kind.target_name} {kind.write(target)}" if target else ""
    return Chart(
        kind.chart_id,
        kind.title,
        lines,
        tuple((scale.at(tick), kind.tick(tick)) for tick in scale.ticks),
        tuple((round(100 * along, 2), name) for along, name in times_of(end, window_s)),
        scale.at(target) if target else None,
        held_to,
        f"{kind.title} over {words.span(window_s)}: now {said}{f'; {held_to}' if held_to else ''}",
        _readings(columns, end, window_s, kind.write),
    )


def _columns(
    points: Points, key: str, end: float, window_s: float, worst: Callable[[Iterable[float]], float]
) -> list[tuple[float, float]]:
    """When and how much: the worst of each column's time, in order."""
    known = [(float(one["at"]), float(one[key])) for one in points if one.get(key) is not None]
    inside = [(at, value) for at, value in known if end - window_s <= at <= end]
    step = window_s / MOST_COLUMNS
    return [
        (held[-1][0], worst(value for _, value in held))
        for held in (list(group) for _, group in groupby(inside, key=lambda one: one[0] // step))
    ]


def _path(column: Sequence[tuple[float, float]], scale: Scale, end: float, window_s: float) -> str:
    held_s = max(HELD_S, 3 * window_s / MOST_COLUMNS)
    parts, before = [], float("-inf")
    for at, value in column:
        x, y = round(WIDTH * (at - end + window_s) / window_s, 1), scale.at(value)
        parts.append(f"{'L' if at - before <= held_s else 'M'}{x:g} {y:g}h.01")
        before = at
    return "".join(parts)


def _readings(columns: Sequence[Sequence[tuple[float, float]]], end: float, window_s: float, write: Write) -> str:
    by_time: dict[float, list[str]] = {}
    for place, column in enumerate(columns):
        for at, value in column:
            by_time.setdefault(at, ["-"] * len(columns))[place] = write(value)
    return ";".join(
        "|".join((f"{100 * (at - end + window_s) / window_s:.2f}", words.clock(at), *texts))
        for at, texts in sorted(by_time.items())
    )
