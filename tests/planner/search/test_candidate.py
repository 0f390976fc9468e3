"""A fleet in parts: what has nothing to do with each other is simulated apart, and what is alike once."""

from dataclasses import replace

import numpy as np
import pytest

from planner.catalog import GpuCalibration, Link
from planner.demand import Demand
from planner.deployment import Codec, Phase, Replica, Route, Stage
from planner.members import members_of
from planner.orchestration.pairing import Hop, Pairing
from planner.parallel.layouts import Task
from planner.search.candidate import Candidate, parts
from planner.workload import Slo

NET = Hop(Link(1.0, 2.0), Codec.RAW)


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
        pairing = Pairing(tuple(replicas), routes, (NET, NET), 1.0, 9.0, 0.0, 0.0)
        task = Task(split_plan.llm, Demand(np.array([100.0]), np.array([10.0])), Slo(), 8192)
        return parts(task, Candidate(plan.instances, tuple(members_of(plan)), pairing))

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
