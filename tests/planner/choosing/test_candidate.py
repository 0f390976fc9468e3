"""A fleet in parts: what has nothing to do with each other is simulated apart, and what is alike once."""

from dataclasses import replace

import numpy as np
import pytest

from planner.advice.robustness import as_candidate
from planner.catalog import GpuCalibration, Link
from planner.choosing.candidate import Candidate, candidate, parts
from planner.demand import Demand
from planner.deployment import Codec, Phase, Replica, Route, Stage
from planner.members import members_of
from planner.orchestration.pairing import Pairing
from planner.orchestration.strands import Hop, Strand
from planner.parallel.layouts import Capacities, Task
from planner.plan import task_of
from planner.traces import workload_named
from planner.workload import Slo

NET = Link(1.0, 2.0)


@pytest.fixture
def fleet(split_plan):
    """Two pairs of replicas, prefill to decode, on the instances named; every instance has two cards."""

    def make(
        *ends: tuple[str, str], shares: tuple[float, float] = (0.5, 0.5), measured: GpuCalibration | None = None
    ) -> list:
        card = split_plan.instances[0]
        names = sorted({name for pair in ends for name in pair})
        replicas, taken = [], dict.fromkeys(names, 0)
        for number, pair in enumerate(ends):
            for phase, name in zip((Phase.PREFILL, Phase.DECODE), pair, strict=True):
                place = Stage(name, (taken[name],), 32)
                replicas.append(Replica(f"{phase[0]}{number}", phase, (place,)))
                taken[name] += 1
        plan = replace(
            split_plan,
            instances=tuple(replace(card, id=name) for name in names),
            replicas=tuple(replicas),
            routes=(),
            calibrations=(measured,) if measured else (),
        )
        routes = tuple(Route(f"p{i}", f"d{i}", share, Codec.RAW) for i, share in enumerate(shares))
        strands = (Strand(plan.instance(a), plan.instance(b), 1.0, NET) for a, b in ends)
        hops = tuple(Hop(NET, Codec.RAW, (strand,)) for strand in strands)
        pairing = Pairing(tuple(replicas), routes, hops, 1.0, 9.0, 0.0, 0.0)
        task = Task(split_plan.llm, Demand(np.array([100.0]), np.array([10.0])), Slo(), 8192)
        return parts(task, Candidate(plan.instances, tuple(members_of(plan, {})), pairing))

    return make


def test_pairs_on_instances_of_their_own_are_two_parts_alike(fleet):
    (part,) = fleet(("a", "b"), ("c", "d"))
    assert (part.copies, part.share, len(part.servers), len(part.lanes)) == (2, 0.5, 2, 1)
    assert part.lanes[0].share == 1.0


def test_pairs_of_different_shares_are_alike_as_well(fleet):
    (part,) = fleet(("a", "b"), ("c", "d"), shares=(0.4, 0.6))
    assert (part.copies, part.share) == (2, 0.5)


def test_pairs_that_share_a_way_out_are_one_part(fleet):
    (part,) = fleet(("a", "b"), ("a", "c"))
    assert (part.copies, part.share, len(part.servers)) == (1, 1.0, 4)
    one, other = part.lanes
    assert one.wires[0] == other.wires[0]
    assert one.wires[1] != other.wires[1]
    assert (one.prefill, one.decode, other.prefill, other.decode) == (0, 1, 2, 3)


def test_replicas_whose_engines_share_a_machine_are_one_part(fleet):
    """All instances of this fleet are of one machine; only where its cores are shared does that join them."""
    apart = fleet(("a", "b"), ("c", "d"))
    shared = fleet(("a", "b"), ("c", "d"), measured=GpuCalibration("A6000", 0.7, 1.0, 0.8, 2e-3, 0.0, 0.0, 0.6))
    assert [(part.copies, len(part.servers)) for part in apart] == [(2, 2)]
    assert [(part.copies, len(part.servers)) for part in shared] == [(1, 4)]
    assert len({server.host for server in shared[0].servers}) == 1


def test_fleets_are_alike_whatever_their_instances_and_replicas_are_called(split_plan):
    pairing = Pairing((), (), (), 1.0, 9.0, 0.0, 0.0)
    members = members_of(split_plan, {})
    named = {one.id: replace(one, id=f"other-{one.id}") for one in split_plan.instances}
    renamed = [one.moved(f"other-{one.replica.id}", named, dict.fromkeys(named, 0)) for one in reversed(members)]
    fleet = Candidate(split_plan.instances, tuple(members), pairing)
    alike = Candidate(tuple(reversed(named.values())), tuple(renamed), pairing)
    flipped = replace(members[0], replica=members[0].replica.flipped(Phase.MIXED))
    assert fleet.makeup == alike.makeup
    assert fleet.makeup != replace(fleet, members=(flipped, *members[1:])).makeup
    assert fleet.makeup != replace(fleet, pairing=replace(pairing, served_rps=2.0)).makeup


def test_what_carries_nothing_is_given_back_and_a_replica_over_two_instances_keeps_both(split_plan, monkeypatch):
    """Of three instances the first has only a replica without traffic; the spanning one moves to i0 and i1 as r0."""
    idle = Replica("r0", Phase.MIXED, (Stage("i0", (0,), 32),))
    busy = Replica("r1", Phase.MIXED, (Stage("i2", (0,), 12), Stage("i1", (0,), 20)))
    members = members_of(replace(split_plan, replicas=(idle, busy)), {})

    def only_spanning(_, given, **__) -> Pairing:
        (name,) = (member.replica.id for member in given if len(member.instances) == 2)
        return Pairing((), (Route(name, name, 1.0, Codec.LOCAL),), (None,), 1.0, 9.0, 0.0, 0.0)

    monkeypatch.setattr("planner.choosing.candidate.pair", only_spanning)
    task = Task(split_plan.llm, Demand(np.array([100.0]), np.array([10.0])), Slo(), 8192)
    found = candidate(Capacities(task), split_plan.instances, members, budget_usd_per_hour=9.0, links={})
    assert found is not None
    assert [(one.id, one.offer_id) for one in found.instances] == [("i0", "o2"), ("i1", "o1")]
    (member,) = found.members
    assert member.replica == replace(busy, id="r0", stages=(Stage("i0", (0,), 12), Stage("i1", (0,), 20)))
    assert found.usd_per_hour == 1.0


def test_a_route_without_a_share_is_no_part_of_the_fleet(split_plan):
    plan = split_plan
    routes = (replace(plan.routes[0], share=0.0), replace(plan.routes[1], share=1.0))
    task = task_of(plan.llm, workload_named("conversation"), plan.slo, plan.max_model_len)
    (only,) = parts(task, as_candidate(replace(plan, routes=routes), {}))
    assert (only.share, len(only.servers)) == (1.0, 1)
