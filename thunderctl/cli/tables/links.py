"""Links between instances as tables: what agents measured, and what a rebalance was planned with."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thunderctl.observing.links import MeasuredLink, PlannedLink

Rows = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Headings, and rows in rich's markup."""

FIGURES = ("Gbit/s", "ms one way")


def link_rows(status: Mapping[str, Any]) -> Rows:
    """Of a status document: the way between each two instances whose agents moved tiles."""
    rows: list[tuple[str, ...]] = [
        (
            link["from"],
            link["to"],
            _figure(link["bandwidth_gbit_per_s"]),
            _figure(link["latency_ms"]),
            _age(link["age_s"]) if link["recent"] else f"[yellow]{_age(link['age_s'])}: old[/]",
        )
        for link in status["links"]
    ]
    return ("from", "to", *FIGURES, "heard from"), rows


def planned_rows(links: "Iterable[PlannedLink]") -> Rows:
    rows: list[tuple[str, ...]] = [
        (one.source, one.target, _figure(one.link.bandwidth_gbit_per_s), _figure(one.link.latency_ms), one.basis)
        for one in links
    ]
    return ("from", "to", *FIGURES, "basis"), rows


def left_out(measured: "Iterable[MeasuredLink]") -> Iterator[str]:
    """What was measured and is not planned with, in a sentence each."""
    for one in measured:
        if not one.recent:
            yield f"The link {one.source} → {one.target} was last heard from {_age(one.health.age_s)}: it is estimated."


def _figure(value: float | None) -> str:
    """To three digits; a dash where nobody has measured it yet."""
    return "-" if value is None else f"{value:.3g}"


def _age(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 5400 else f"{seconds / 3600:.1f} h ago"
