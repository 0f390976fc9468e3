"""Routes as a picture: from each prefill replica an arrow to each decode replica it hands requests to.

An arrow is filled by the route's share, told with its codec and what was measured of its way.
"""

from collections.abc import Sequence
from itertools import groupby

from rich.text import Text

from thunderctl import words
from thunderctl.fleet.crowds import MOST_ALONE, crowds_of
from thunderctl.tui import columns
from thunderctl.tui.frame import Document, Frame
from thunderctl.tui.theme import FAINT, INK, LINE, WARN, phase_style
from thunderctl.tui.widgets.rows import Row

FIGURES = 7 + 15
"""Columns of share and measured way."""
SLOW = 0.5
"""Of the planned bandwidth: a way measured to be slower is shown as such."""


def route_rows(frame: Frame, width: int) -> Sequence[Row]:
    """Routes of one prefill replica stand together, the largest share first; of very many those of crowds."""
    routes = [one for one in frame.lists("routes") if frame.holds(one["prefill"], one["decode"], one["codec"])]
    replicas = frame.lists("replicas")
    if len(routes) > MOST_ALONE:
        crowded = crowds_of({"replicas": replicas, "routes": routes, "instances": frame.lists("instances")})
        routes, replicas = crowded["routes"], crowded["replicas"]
    phases = {one["id"]: one["phase"] for one in replicas}
    most = max(6, width // 6)
    ends = [columns.widest([_name(one, end) for one in routes], 2, most) for end in ("prefill", "decode")]
    codec = columns.widest([str(one["codec"]) for one in routes], 6, 9)
    arrow = max(6, width - sum(ends) - codec - FIGURES - 9)
    total = {name: sum(one["share"] for one in group) for name, group in _by_prefill(routes)}
    ordered = sorted(routes, key=lambda one: (-total[one["prefill"]], one["prefill"], -one["share"], one["decode"]))
    largest = max((one["share"] for one in routes), default=1.0) or 1.0
    rows = []
    for _, group in groupby(ordered, key=lambda one: one["prefill"]):
        fan = list(group)
        for n, one in enumerate(fan):
            begun = _begun(one, n, len(fan), ends[0], phases)
            rows.append(Row(Text.assemble(begun, *_rest(one, (arrow, ends[1], codec), largest, phases))))
    return rows


def _by_prefill(routes: Sequence[Document]) -> list[tuple[str, list[Document]]]:
    ordered = sorted(routes, key=lambda one: str(one["prefill"]))
    return [(str(name), list(group)) for name, group in groupby(ordered, key=lambda one: one["prefill"])]


def _begun(one: Document, n: int, count: int, width: int, phases: Document) -> Text:
    """The prefill replica on the first line of its fan, and the branch that this route takes."""
    name = columns.column(_name(one, "prefill") if n == 0 else "", width, phase_style(phases.get(one["prefill"], "")))
    branch = "─" if count == 1 else "┬" if n == 0 else "└" if n == count - 1 else "├"
    return Text.assemble("  ", name, " ", (branch, FAINT))


def _name(one: Document, end: str) -> str:
    """Of the replica at that end; of a crowd its kind, as colours tell the phase."""
    return str(one.get(f"{end}_kind") or one[end])


def _rest(one: Document, widths: tuple[int, int, int], largest: float, phases: Document) -> tuple[Text, ...]:
    arrow, width, codecs = widths
    style = phase_style(phases.get(one["decode"], ""))
    alone = one["prefill"] == one["decode"] or one["codec"] == "local"
    filled = max(1, round(one["share"] / largest * (arrow - 1))) if one["share"] > 0 else 0
    line = Text.assemble(("━" * filled, style), ("─" * (arrow - 1 - filled), LINE), ("▶", style))
    share = Text(f"{one['share']:.1%}".rjust(7), INK)
    codec = Text(f" {one['codec']:<{codecs}}", FAINT)
    way = Text(" stays there", FAINT) if alone else _way(one)
    return line, Text(" "), columns.column(_name(one, "decode"), width, style), share, codec, way


def _way(one: Document) -> Text:
    """What was measured of it, a warning where that is far below what was planned with; else that nobody has."""
    measured, planned = one.get("measured_gbit_per_s"), one.get("planned_gbit_per_s")
    if measured is None:
        return Text(" unmeasured", FAINT)
    slow = planned is not None and measured < SLOW * planned
    return Text(f" {words.gbit(measured)} !", WARN) if slow else Text(f" {words.gbit(measured)}", INK)
