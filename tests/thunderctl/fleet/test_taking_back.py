"""What was drained is found again in an earlier plan, and only where its machine and its place are still there."""

from dataclasses import replace

import pytest

from planner.deployment import Phase, Stage
from planner.rebalancing.flips import without
from tests.planner.plans import split_plan
from thunderctl.fleet.taking_back import with_back

WHOLE = split_plan()
LEASED = frozenset((one.id, one.offer_id) for one in WHOLE.instances)
NO_R2 = replace(without(WHOLE, ["r2"]), plan_id="no r2")
NO_I0 = replace(without(WHOLE, ["i0"]), plan_id="no i0")


def names(plan):
    return {one.id for one in plan.replicas}


def test_a_replica_comes_back_and_the_others_keep_their_phases():
    turned = replace(NO_R2, replicas=tuple(one.flipped(Phase.MIXED) for one in NO_R2.replicas))
    wider, back = with_back(turned, [turned, NO_R2, WHOLE], "r2", LEASED)
    assert back == ["r2"]
    assert {one.id: one.phase for one in wider.replicas} == dict.fromkeys(("r0", "r1", "r2"), Phase.MIXED)


def test_a_machine_comes_back_with_all_that_it_had():
    wider, back = with_back(NO_I0, [NO_I0, WHOLE], "i0", LEASED)
    assert (back, names(wider)) == (["r0", "r1"], {"r0", "r1", "r2"})
    assert {one.id for one in wider.instances} == {"i0", "i1", "i2"}


def test_one_of_two_that_were_drained_comes_back_alone():
    neither = replace(without(NO_R2, ["r1"]), plan_id="r0 alone")
    wider, back = with_back(neither, [neither, NO_R2, WHOLE], "r2", LEASED)
    assert (back, names(wider)) == (["r2"], {"r0", "r2"})


def test_what_is_of_the_plan_has_nothing_to_come_back():
    assert with_back(WHOLE, [WHOLE, NO_R2], "r2", LEASED) == (WHOLE, [])


@pytest.mark.parametrize(
    "earlier",
    [
        [],
        [replace(WHOLE, dtype="fp8")],
        [replace(WHOLE, instances=(replace(WHOLE.instances[0], offer_id="another"), *WHOLE.instances[1:]))],
        [replace(WHOLE, replicas=(replace(WHOLE.replicas[0], stages=(Stage("i0", (1,), 32),)), *WHOLE.replicas[1:]))],
        [replace(WHOLE, replicas=(*WHOLE.replicas[:2], replace(WHOLE.replicas[2], stages=WHOLE.replicas[0].stages)))],
        [replace(WHOLE, replicas=WHOLE.replicas[1:])],
    ],
    ids=[
        "none",
        "another dtype",
        "another machine",
        "another place",
        "a place that is taken",
        "one that runs is not in it",
    ],
)
def test_a_plan_that_does_not_fit_what_serves_is_not_gone_back_to(earlier):
    assert with_back(NO_R2, earlier, "r2", LEASED) == (NO_R2, [])


def test_a_machine_that_is_gone_does_not_come_back():
    assert with_back(NO_I0, [WHOLE], "i0", LEASED - {("i0", "o0")}) == (NO_I0, [])
