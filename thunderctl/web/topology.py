"""The picture of a fleet: replicas in two columns, grouped by the machines they are on, and routes between them. Pure.

Who prefills for another replica is on the left, who decodes on the right; one that does both is in both. How high
everything is is decided here, in pixels that the style sheet keeps to: so bands meet their replicas at any width.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf
from typing import Any

from thunderctl.fleet.crowds import machines_of
from thunderctl.web.bands import Band, bands_between

MOST_ROOMY = 12
"""Replicas in a column that have room for headings and two lines each."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Spacing:
    """A group's heading, one replica, and what is between groups: `--head`, `--row` and `--gap` of the style sheet."""

    head_px: int
    row_px: int
    gap_px: int


ROOMY, DENSE = Spacing(30, 46, 10), Spacing(0, 30, 3)


@dataclass(frozen=True, slots=True)
class Group:
    """Replicas on the same machines. Most replicas are on one."""

    machines: tuple[str, ...]
    note: str
    replicas: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class Topology:
    left: tuple[Group, ...]
    right: tuple[Group, ...]
    bands: tuple[Band, ...]
    height_px: int
    is_dense: bool


def topology_of(status: Document) -> Topology:
    """Of a status document, or of a plan's, which has the same replicas and routes."""
    replicas = [{**one, "instances": machines_of(one)} for one in status.get("replicas") or ()]
    routes = list(status.get("routes") or ())
    across = [one for one in routes if one["prefill"] != one["decode"]]
    local = {one["decode"]: float(one["share"]) for one in routes if one["prefill"] == one["decode"]}
    giving, taking = ({one[end] for one in across} for end in ("prefill", "decode"))
    idle = {one["id"] for one in replicas} - giving - taking - local.keys()
    on_left = [one for one in replicas if one["id"] in giving or (one["id"] in idle and one["phase"] == "prefill")]
    on_right = [
        one for one in replicas if one["id"] not in {left["id"] for left in on_left} or _both(one, taking, local)
    ]
    machines = {one["id"]: one for one in status.get("instances") or ()}
    left = _groups(on_left, machines, local, {})
    places_of = {one["id"]: place for place, group in enumerate(left) for one in group.replicas}
    met = {one["id"]: _mean_place(one["id"], across, places_of) for one in on_right if one["id"] in taking}
    right = _groups(on_right, machines, local, met)
    is_dense = max(len(on_left), len(on_right)) > MOST_ROOMY
    space = DENSE if is_dense else ROOMY
    height = max(_height(left, space), _height(right, space))
    ready = {one["id"] for one in replicas if one.get("ready") or one.get("state", "ready") == "ready"}
    places = (_places(left, height, space), _places(right, height, space))
    bands = bands_between(routes, *places, ready=ready, room_px=space.row_px - 8)
    return Topology(left, right, bands, height, is_dense)


def _both(replica: Document, taking: set[str], local: Mapping[str, float]) -> bool:
    return replica["id"] in taking or replica["id"] in local


def _groups(
    side: Iterable[Document],
    machines: Mapping[str, Document],
    local: Mapping[str, float],
    met: Mapping[str, float],
) -> tuple[Group, ...]:
    """By machines, as those that they are met by lie in the other column, so that few bands cross; the others last."""
    by_place = sorted(side, key=lambda one: (one["instances"], one["id"]))
    found = [
        Group(place, _note(place, machines), tuple({**one, "local_share": local.get(one["id"])} for one in held))
        for place, held in groupby(by_place, key=lambda one: one["instances"])
    ]
    return tuple(sorted(found, key=lambda group: min((met.get(one["id"], inf) for one in group.replicas), default=inf)))


def _mean_place(decode: str, routes: Iterable[Document], places: Mapping[str, int]) -> float:
    weights = [(one["share"], places.get(one["prefill"], 0)) for one in routes if one["decode"] == decode]
    total = sum(share for share, _ in weights)
    return sum(share * place for share, place in weights) / total if total else inf


def _note(place: Sequence[str], machines: Mapping[str, Document]) -> str:
    """`4 × A40`, where the machines are known and alike; what is said of a crowd's."""
    if said := [one["note"] for one in (machines.get(name, {}) for name in place) if one.get("note")]:
        return str(said[0])
    cards = {(one.get("gpu_count"), one["gpu"]) for one in (machines.get(name, {}) for name in place) if one.get("gpu")}
    if len(cards) != 1:
        return ""
    count, gpu = next(iter(cards))
    return f"{count} × {gpu}" if count else str(gpu)


def _height(groups: Sequence[Group], space: Spacing) -> int:
    rows = sum(len(group.replicas) for group in groups)
    return space.row_px * rows + space.head_px * len(groups) + space.gap_px * max(0, len(groups) - 1)


def _places(groups: Sequence[Group], height_px: int, space: Spacing) -> dict[str, float]:
    """Where each replica's row has its middle; a lower column is centred."""
    top, found = (height_px - _height(groups, space)) / 2, {}
    for group in groups:
        for row, replica in enumerate(group.replicas):
            found[str(replica["id"])] = top + space.head_px + space.row_px * (row + 0.5)
        top += space.head_px + space.row_px * len(group.replicas) + space.gap_px
    return found
