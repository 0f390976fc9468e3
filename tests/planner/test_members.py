"""Replicas of a plan, read as they run: on unlike GPUs, of several instances, in uneven stages."""

from dataclasses import replace

import pytest

from planner.catalog import Link
from planner.deployment import Phase, Plan, Replica, Stage
from planner.gpus import gpu_named
from planner.links import link_between
from planner.members import Member, members_of
from planner.parallel.layouts import GpuKind, Slot
from planner.parallel.shapes import layout_of

STAGES = (Stage("i1", (0,), 10), Stage("i0", (1,), 22))


@pytest.fixture
def uneven(split_plan: Plan) -> Plan:
    """A replica over the A5000 of i1 and the second A6000 of i0, in that order."""
    return replace(split_plan, replicas=(Replica("r0", Phase.MIXED, STAGES),), routes=())


def spanning(plan: Plan, **given: object) -> Member:
    (member,) = members_of(plan, **({"links": {}} | given))  # type: ignore[arg-type]
    return member


def test_each_stage_has_its_own_instances_gpus_and_its_layers(uneven):
    member = spanning(uneven)
    kinds = [GpuKind(gpu_named(name), memory, nvlink=False) for name, memory in (("A5000", 23.6), ("A6000", 47.4))]
    assert member.layout.slots == (Slot(kinds[0], 0, 10), Slot(kinds[1], 1, 22))
    assert member.gpus == {"A5000": kinds[0].gpu, "A6000": kinds[1].gpu}


def test_each_instance_holds_the_layers_of_its_own_stages(uneven):
    member = spanning(uneven)
    assert [instance.id for instance in member.instances] == ["i1", "i0"]
    assert [(instance.id, layers) for instance, layers in member.held] == [("i1", 10), ("i0", 22)]


def test_the_link_between_its_instances_is_the_stated_one_or_an_estimate(uneven):
    i0, i1, _ = uneven.instances
    member = spanning(uneven)
    assert member.layout is layout_of(
        uneven.llm, 1, member.layout.slots, tuple(tuple(link_between(a, b, {}) for b in (i1, i0)) for a in (i1, i0))
    )
    fast = spanning(uneven, links={("i1", "i0"): Link(100.0, 0.1)})
    assert fast.layout.pace.hops_s < member.layout.pace.hops_s
    assert spanning(uneven, links={("i0", "i1"): Link(100.0, 0.1)}).layout.pace == member.layout.pace


def test_gpus_may_be_taken_as_slower_than_they_are(uneven):
    slower = replace(gpu_named("A5000"), memory_gb_per_s=300.0)
    load = {"batch": 4.0, "context": 4000.0}
    taken = spanning(uneven, gpus={"A5000": slower})
    assert taken.layout.pace.pass_s(**load) > 1.1 * spanning(uneven).layout.pace.pass_s(**load)


def test_it_moves_to_other_instances_with_all_its_stages(uneven):
    member = spanning(uneven)
    i0, i1, _ = uneven.instances
    moved = member.moved("r9", {"i0": replace(i0, id="a"), "i1": replace(i1, id="b")}, {"i0": 0, "i1": 3})
    assert moved.replica == replace(member.replica, id="r9", stages=(Stage("b", (3,), 10), Stage("a", (0,), 22)))
    assert [instance.id for instance in moved.instances] == ["b", "a"]
    assert moved.layout is member.layout


def test_stages_of_one_instance_that_do_not_follow_each_other_are_read_too(split_plan):
    stages = (Stage("i0", (0,), 12), Stage("i1", (0,), 8), Stage("i0", (1,), 12))
    member = spanning(replace(split_plan, replicas=(Replica("r0", Phase.MIXED, stages),), routes=()))
    assert [slot.place for slot in member.layout.slots] == [0, 1, 0]
    moved = member.moved("r1", {one.id: one for one in member.instances}, {"i0": 0, "i1": 0})
    assert moved.replica.stages == stages
