"""A fleet that is too large to be searched as one, dealt into cells that are much alike: each kind is worked out once.

Replicas exchange requests within their cell only. A cell of a dozen loses little by that, as the next one has the same
mixture; and what is worked out does not grow with the fleet: a few kinds are decided and paired, however many cells
there are. Stated links count in the way of each route, and not in telling cells apart.
"""

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from planner.choosing.candidate import Candidate
from planner.choosing.search import Search
from planner.demand import Floats, Ints
from planner.deployment import Instance, Plan, Route
from planner.links import Links
from planner.members import Member
from planner.orchestration.pairing import Pairing
from planner.orchestration.strands import Hop, link_along, strands

MOST_WHOLE = 36
"""Replicas that are searched as one fleet."""
CELL = 12
"""Replicas of a cell, about."""

Places = tuple[int, ...]
Found = TypeVar("Found")


def is_large(replicas: Collection[object]) -> bool:
    return len(replicas) > MOST_WHOLE


@dataclass(frozen=True, slots=True)
class Dealt:
    """Cells as places of members, in the order in which they were dealt; those of one kind have the same number."""

    cells: tuple[Places, ...]
    kinds: tuple[int, ...]

    def each(self, work: Callable[[Places], Found]) -> list[Found]:
        """What the first of each kind comes to, for every cell."""
        known: dict[int, Found] = {}
        for cell, kind in zip(self.cells, self.kinds, strict=True):
            if kind not in known:
                known[kind] = work(cell)
        return [known[kind] for kind in self.kinds]


def dealt(members: Sequence[Member], *, phases_are_free: bool = False) -> Dealt:
    """Like cards: by phase and then by what they are, so that cells have as many of a phase, and of all kinds of them.

    Unless phases may change, there are no more cells than the rarer of prefill replicas and others, where there are
    both, and no cell is larger for that than what is searched as one.
    """
    sorts = [_sort(member) for member in members]
    numbers = {sort: number for number, sort in enumerate(dict.fromkeys(sorts))}
    order = sorted(range(len(members)), key=lambda i: (str(members[i].phase), numbers[sorts[i]], i))
    prefilling = sum(not member.phase.decodes for member in members)
    rarer = min(prefilling, len(members) - prefilling)
    usual = max(1, round(len(members) / CELL))
    count = usual if phases_are_free or not rarer else max(min(usual, rarer), -(-len(members) // MOST_WHOLE))
    cells = tuple(tuple(order[first::count]) for first in range(count))
    names = [(tuple((members[i].phase, sorts[i]) for i in cell), _together(members, cell)) for cell in cells]
    kinds = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return Dealt(cells, tuple(kinds[name] for name in names))


def paired_in_cells(search: Search, instances: Sequence[Instance], members: Sequence[Member]) -> Candidate | None:
    """The members, in their phases, with routes inside cells; None where no cell serves anything."""
    cut = dealt(members)
    per_cell = part_of(search, instances, len(cut.cells))
    found = cut.each(lambda cell: _paired(per_cell, [members[i] for i in cell]))
    first = {kind: cell for cell, kind in reversed(list(zip(cut.cells, cut.kinds, strict=True)))}
    pairings = [
        None if pairing is None else _renamed(pairing, first[kind], cell, members, search.links)
        for cell, kind, pairing in zip(cut.cells, cut.kinds, found, strict=True)
    ]
    search.evaluations += len(first)
    rated = {one.id: one for one in (replica for pairing in pairings if pairing for replica in pairing.replicas)}
    whole = joined([pairing for pairing in pairings if pairing])
    if whole is None:
        return None
    replicas = tuple(rated.get(member.replica.id, member.replica) for member in members)
    return Candidate(tuple(instances), tuple(members), replace(whole, replicas=replicas))


def part_of(search: Search, instances: Sequence[Instance], cells: int) -> Search:
    """The search of one cell: what the budget leaves for transfers is for all of them alike."""
    spare = max(0.0, search.budget_usd_per_hour - sum(one.usd_per_hour for one in instances))
    return replace(search, budget_usd_per_hour=spare / cells)


def cell_of(current: Plan, members: Sequence[Member]) -> Plan:
    """The plan of a cell alone, on machines that cost nothing more: they are paid for anyhow."""
    there = {one.id: replace(one, usd_per_hour=0.0) for member in members for one in member.instances}
    return replace(
        current, instances=tuple(there.values()), replicas=tuple(member.replica for member in members), routes=()
    )


def joined(pairings: Sequence[Pairing]) -> Pairing | None:
    """Cells as one fleet: each takes the part of the requests that it serves of all."""
    served_rps = sum(one.served_rps for one in pairings)
    if served_rps <= 0:
        return None
    parts = [one.served_rps / served_rps for one in pairings]
    each = list(zip(pairings, parts, strict=True))
    return Pairing(
        replicas=tuple(replica for one in pairings for replica in one.replicas),
        routes=tuple(replace(route, share=route.share * part) for one, part in each for route in one.routes),
        hops=tuple(hop for one in pairings for hop in one.hops),
        served_rps=served_rps,
        wire_rps=min(one.wire_rps / part for one, part in each),
        transfer_usd_per_hour_per_rps=sum(one.transfer_usd_per_hour_per_rps * part for one, part in each),
        kv_gb_per_request=sum(one.kv_gb_per_request * part for one, part in each),
    )


def loads_of(current: Plan) -> Floats:
    """The part of the requests that each replica prefills, plus the part that it decodes."""
    load = dict.fromkeys((replica.id for replica in current.replicas), 0.0)
    for route in current.routes:
        load[route.prefill] += route.share
        load[route.decode] += route.share
    return np.array(list(load.values()))


def spread(cut: Dealt, by_cell: Sequence[Ints], count: int) -> Ints:
    """What was found for the places of each cell, by member."""
    found = np.zeros(count, dtype=np.int64)
    for cell, phases in zip(cut.cells, by_cell, strict=True):
        found[list(cell)] = phases
    return found


def _paired(search: Search, members: Sequence[Member]) -> Pairing | None:
    free = [replace(one, usd_per_hour=0.0) for member in members for one in member.instances]
    found = search.paired(free, members)
    return found.pairing if found and found.pairing.served_rps > 0 else None


def _renamed(pairing: Pairing, first: Places, cell: Places, members: Sequence[Member], links: Links) -> Pairing:
    """What the first cell of a kind came to, as another cell of that kind."""
    if cell == first:
        return pairing
    takes = {members[a].replica.id: members[b] for a, b in zip(first, cell, strict=True)}
    ways = [_way(route, hop, takes, links) for route, hop in zip(pairing.routes, pairing.hops, strict=True)]
    rated = {one.id: one for one in pairing.replicas}
    replicas = tuple(
        replace(
            taken.replica,
            capacity_rps=rated[name].capacity_rps,
            kv_capacity_tokens=rated[name].kv_capacity_tokens,
        )
        for name, taken in takes.items()
    )
    routes, hops = tuple(route for route, _ in ways), tuple(hop for _, hop in ways)
    return replace(pairing, replicas=replicas, routes=routes, hops=hops)


def _way(route: Route, hop: Hop | None, takes: dict[str, Member], links: Links) -> tuple[Route, Hop | None]:
    source, target = takes[route.prefill], takes[route.decode]
    named = replace(route, prefill=source.replica.id, decode=target.replica.id)
    if hop is None:
        return named, None
    found = strands(source, target, links)
    link = link_along(found, links)
    return replace(named, bandwidth_gbit_per_s=link.bandwidth_gbit_per_s), Hop(link, route.codec, found)


def _together(members: Sequence[Member], cell: Places) -> tuple[int, ...]:
    """Which of a cell's replicas share a machine: by each one's first in the cell."""
    heads = [members[i].instance.id for i in cell]
    return tuple(heads.index(head) for head in heads)


def _sort(member: Member) -> Hashable:
    """The same for replicas that are alike but for their names."""
    places = tuple(
        replace(one, id="", offer_id="", machine="", gpu_count=0, usd_per_hour=0.0, availability=1.0)
        for one in member.instances
    )
    return member.layout, places
