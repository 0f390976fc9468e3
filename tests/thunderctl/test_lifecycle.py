"""What a rebalance changes, told from two plans."""

from dataclasses import replace

from planner.deployment import Codec, Phase
from tests.planner.plans import split_plan
from thunderctl.lifecycle import Flip, differ, flips_between


def test_a_plan_does_not_differ_from_itself():
    assert not differ(split_plan(), split_plan())


def test_a_replica_in_another_phase_is_a_flip_and_a_difference():
    current = split_plan()
    first, *others = current.replicas
    wanted = replace(current, replicas=(first.flipped(Phase.MIXED), *others))
    assert flips_between(current, wanted) == [Flip(first.id, first.phase, Phase.MIXED)]
    assert differ(current, wanted)


def test_another_codec_of_one_route_is_a_difference_without_a_flip():
    current = split_plan()
    first, *others = current.routes
    wanted = replace(current, routes=(replace(first, codec=Codec.INT8), *others))
    assert flips_between(current, wanted) == []
    assert differ(current, wanted)
