"""Phases and routes of replicas that already run: which of them should prefill, without reloading any weights.

`turned` decides, by the analytic score alone; `confirmed` simulates what was decided and what it replaces.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from planner.choosing.candidate import Candidate
from planner.choosing.contest import Finding
from planner.choosing.search import Search
from planner.demand import Ints
from planner.deployment import Alternative, Phase, Plan
from planner.errors import SpecError
from planner.members import Member, members_of
from planner.orchestration.pairing import packed_codec, transport_of
from planner.parallel.layouts import best_codec
from planner.rebalancing.alike import designations_of, phases_of
from planner.rebalancing.cells import (
    Places,
    cell_of,
    dealt,
    is_large,
    loads_of,
    paired_in_cells,
    part_of,
    spread,
)
from planner.rebalancing.designating import SAME, Decision, Served, decided
from planner.rebalancing.phase_program import PHASES, PhaseProgram

BEFORE = "phases as they were"


@dataclass(frozen=True, slots=True)
class Turned:
    """What is to be in force, and how it was chosen."""

    after: Candidate
    decision: Decision
    flips: bool


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What was found, and what was in force as it would do under the same workload: None where that serves nothing."""

    found: Finding
    before: Finding | None


def without(current: Plan, lost: Sequence[str]) -> Plan:
    """The plan without these replicas and instances, and without the replicas that these instances held."""
    known = {replica.id for replica in current.replicas} | {instance.id for instance in current.instances}
    if unknown := sorted(set(lost) - known):
        raise SpecError(
            f"{', '.join(unknown)} {'is' if len(unknown) == 1 else 'are'} not of this plan; "
            "expected ids of its replicas or instances.",
            hint="`thunderctl status` lists them.",
        )
    left = tuple(r for r in current.replicas if not {r.id, *r.instances} & set(lost))
    if not left:
        raise SpecError(
            "Every replica would be left out; expected one that still runs.",
            hint="To end it: thunderctl down; where they failed: thunderctl up",
        )
    names = {replica.id for replica in left}
    return replace(
        current,
        replicas=left,
        instances=tuple(instance for instance in current.instances if instance.id not in lost),
        routes=tuple(route for route in current.routes if {route.prefill, route.decode} <= names),
    )


def turned(search: Search, current: Plan) -> Turned | None:
    """The designation of the plan's replicas that serves the most, paired; None if none serves anything."""
    members = members_of(current, search.links)
    decision = _in_cells(search, current, members) if is_large(members) else _as_one(search, current, members)
    search.evaluations += decision.solved
    after = formed(search, current, members, decision.phases)
    return Turned(after, decision, bool((decision.phases != phases_of(members)).any())) if after else None


def confirmed(search: Search, current: Plan, turn: Turned) -> Confirmed:
    """What was decided, unless simulation finds that what is in force serves more."""
    bound = turn.decision.bound_rps
    members = members_of(current, search.links)
    before = formed(search, current, members, phases_of(members)) if turn.flips else turn.after
    goodput = search.goodput_rps(turn.after)
    found = Finding(turn.after, goodput, bound)
    if before is None or before is turn.after:
        return Confirmed(found, None if before is None else found)
    before_goodput = search.goodput_rps(before)
    now = Finding(before, before_goodput, bound)
    if before_goodput > goodput * (1 + SAME):
        return Confirmed(now, now)
    return Confirmed(replace(found, alternatives=(Alternative(BEFORE, before_goodput, before.usd_per_hour),)), now)


def served(search: Search, current: Plan, members: Sequence[Member]) -> Served:
    """What the members serve in any phases: each hop with the codec that suits it or, where wires are full, packed."""
    of = search.capacities
    spare = max(0.0, search.budget_usd_per_hour - sum(instance.usd_per_hour for instance in current.instances))
    mixed = np.array([of.mixed_rps(member.layout) for member in members])
    prefilling, decoding = (_all_in(members, phase) for phase in (Phase.PREFILL, Phase.DECODE))
    ways = (best_codec,) if of.codec else (best_codec, packed_codec)
    transports = [transport_of(of, prefilling, decoding, search.links, spare, way)[1] for way in ways]
    return Served([PhaseProgram(transport, mixed) for transport in transports])


def _as_one(search: Search, current: Plan, members: Sequence[Member]) -> Decision:
    return decided(served(search, current, members), designations_of(members, search.links, loads_of(current)))


def _in_cells(search: Search, current: Plan, members: Sequence[Member]) -> Decision:
    """Each kind of cell by itself. What it says of all designations holds for those in cells like these."""
    cut, load = dealt(members, phases_are_free=True), loads_of(current)
    own = part_of(search, current.instances, len(cut.cells))

    def decide(cell: Places) -> Decision:
        some = [members[i] for i in cell]
        return decided(served(own, cell_of(current, some), some), designations_of(some, search.links, load[list(cell)]))

    found = cut.each(decide)
    phases = spread(cut, [one.phases for one in found], len(members))
    return Decision(
        phases,
        served_rps=sum(one.served_rps for one in found),
        best_rps=sum(one.best_rps for one in found),
        bound_rps=sum(one.bound_rps for one in found),
        solved=sum({id(one): one.solved for one in found}.values()),
    )


def _all_in(members: Sequence[Member], phase: Phase) -> list[Member]:
    return [replace(member, replica=member.replica.flipped(phase)) for member in members]


def formed(search: Search, current: Plan, members: Sequence[Member], phases: Ints) -> Candidate | None:
    flipped = [
        replace(member, replica=member.replica.flipped(PHASES[phase]))
        for member, phase in zip(members, phases.tolist(), strict=True)
    ]
    if is_large(flipped):
        return paired_in_cells(search, current.instances, flipped)
    return search.paired(current.instances, flipped)
