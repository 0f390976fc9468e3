"""Routes as bands between two columns: as wide as their share, in an order in which few cross. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

THINNEST_PX = 1.5
LABEL_PX = 15.0
MOST_LABELS = 10
"""Labels that are nearer to each other, and those of smaller shares, are left out; the table has them all."""

Route = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Band:
    """`path` is in a picture 100 wide, and as high as the columns. `label_y` is None where there is no room for one."""

    prefill: str
    decode: str
    share: float
    codec: str
    gbit_per_s: float | None
    path: str
    works: bool
    label_y: float | None

    @property
    def is_local(self) -> bool:
        return self.prefill == self.decode


def bands_between(
    routes: Iterable[Route],
    left: Mapping[str, float],
    right: Mapping[str, float],
    *,
    ready: Collection[str],
    room_px: float,
) -> tuple[Band, ...]:
    """Bands of the routes whose ends are there. The replica with the most traffic fills `room_px` of its row."""
    drawn = [one for one in routes if _is_drawn(one, left, right)]
    starts = _stacked(drawn, "prefill", "decode", left, right, room_px)
    ends = _stacked(drawn, "decode", "prefill", right, left, room_px)
    wide = _px_per_share(drawn, room_px)
    labels: list[float] = []
    found = []
    for index, one in sorted(enumerate(drawn), key=lambda item: -item[1]["share"]):
        width = max(THINNEST_PX, one["share"] * wide)
        local = one["prefill"] == one["decode"]
        middle = ends[index] + width / 2 if local else (starts[index] + ends[index] + width) / 2
        free = len(labels) < MOST_LABELS and all(abs(middle - other) >= LABEL_PX for other in labels)
        if free:
            labels.append(middle)
        path = _stub(ends[index], width) if local else _ribbon(starts[index], ends[index], width)
        measured = one.get("measured_gbit_per_s")
        works = one["prefill"] in ready and one["decode"] in ready
        codec = str(one.get("codec", ""))
        found.append(
            Band(one["prefill"], one["decode"], one["share"], codec, measured, path, works, middle if free else None)
        )
    return tuple(found)


def _is_drawn(one: Route, left: Mapping[str, float], right: Mapping[str, float]) -> bool:
    return one["decode"] in right and (one["prefill"] == one["decode"] or one["prefill"] in left)


def _px_per_share(routes: Sequence[Route], room_px: float) -> float:
    totals: dict[tuple[str, str], float] = {}
    for one in routes:
        for end in ("prefill", "decode"):
            totals[end, one[end]] = totals.get((end, one[end]), 0.0) + one["share"]
    return room_px / max(totals.values(), default=1.0) if max(totals.values(), default=0.0) > 0 else 0.0


def _stacked(
    routes: Sequence[Route],
    end: str,
    other: str,
    here: Mapping[str, float],
    there: Mapping[str, float],
    room_px: float,
) -> dict[int, float]:
    """The upper edge of each band at one end: a replica's bands lie on each other as their other ends do."""
    wide, found = _px_per_share(routes, room_px), {}
    for name, middle in here.items():
        held = [index for index, one in enumerate(routes) if one[end] == name and not _comes_from_nowhere(one, end)]
        held.sort(key=lambda index: there.get(routes[index][other], middle))
        widths = [max(THINNEST_PX, routes[index]["share"] * wide) for index in held]
        top = middle - sum(widths) / 2
        for index, width in zip(held, widths, strict=True):
            found[index] = top
            top += width
    return found


def _comes_from_nowhere(one: Route, end: str) -> bool:
    return end == "prefill" and bool(one["prefill"] == one["decode"])


def _ribbon(start: float, end: float, width: float) -> str:
    a, b, c, d = (f"{one:.1f}" for one in (start, end, end + width, start + width))
    return f"M0 {a}C50 {a} 50 {b} 100 {b}V{c}C50 {c} 50 {d} 0 {d}Z"


def _stub(end: float, width: float) -> str:
    """What a replica does alone comes from nowhere."""
    return f"M62 {end:.1f}H100V{end + width:.1f}H62Z"
