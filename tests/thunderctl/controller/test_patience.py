"""How long an instance waits for its next machine, by what became of those before."""

from dataclasses import replace

import pytest

from provisioners.leases.journal import LeaseState
from provisioners.leases.observe import TERMINATED, UNLISTED
from provisioners.leases.release import BY_GC, NOT_PLANNED
from tests.thunderctl.controller.situations import NOW, resting, row, situation
from thunderctl.controller.decide import leaving_of
from thunderctl.controller.patience import LONGEST_S, REMEMBERED_S, waits
from thunderctl.controller.sizing.resizing import goes_to_rest
from thunderctl.store.values import DeploymentState

HOUR = 3600.0


def ended(ago_s, lasted_s=300.0, reason="CUDA could not be initialized", state=LeaseState.GONE, instance="i1"):
    end = NOW - ago_s
    made = row(instance, state, reason=reason, ended_at=end)
    return replace(made, sent_at=end - lasted_s, created_at=end - lasted_s)


def waited_s(*rows, instance="i1"):
    """From the last end on; None where it may be leased now."""
    found = waits(rows, [instance], NOW, ready_deadline_s=1200.0)
    return found[0].until - rows[-1].ended_at if found else None


def test_one_machine_that_failed_is_replaced_at_once_and_the_next_after_growing_pauses():
    failed = [ended(ago) for ago in range(90, 0, -10)]
    found = [waited_s(*(replace(one, ended_at=NOW) for one in failed[:count])) for count in range(1, 9)]
    assert found == [None, 120.0, 240.0, 480.0, 960.0, 1920.0, LONGEST_S, LONGEST_S]


def test_the_pause_counts_from_the_last_end():
    assert waited_s(ended(500.0), ended(119.0)) == 120.0
    assert waited_s(ended(500.0), ended(121.0)) is None


def test_one_that_was_there_for_long_was_of_use_and_begins_anew():
    well = ended(100.0, lasted_s=2 * HOUR, reason="outbid")
    assert waited_s(ended(3 * HOUR), ended(2.5 * HOUR), well, ended(1.0)) is None
    assert waited_s(ended(3 * HOUR), ended(2.5 * HOUR), ended(1.0)) == 240.0


def test_one_that_is_not_ready_within_its_long_deadline_is_no_machine_of_use():
    rows = [ended(100.0 + HOUR, lasted_s=2 * HOUR), ended(1.0, lasted_s=2 * HOUR)]
    assert waits(rows, ["i1"], NOW, ready_deadline_s=1200.0) == ()
    assert waits(rows, ["i1"], NOW, ready_deadline_s=1.5 * HOUR)[0].failures == 2


@pytest.mark.parametrize(
    "other",
    [
        {"state": LeaseState.LOST, "reason": "taken"},
        {"instance": "i2"},
        {"state": LeaseState.CREATED},
    ],
    ids=str,
)
def test_a_create_that_was_refused_and_another_instances_machines_count_for_nothing(other):
    assert waited_s(ended(20.0, **other), ended(10.0, **other), ended(1.0)) is None


def test_what_was_ended_though_it_was_of_use_is_no_failure():
    now = situation(resting=resting("i1"))
    rests = goes_to_rest(now, row("i1"))
    down = leaving_of(situation(state=DeploymentState.STOPPING)).reasons["l-i1"]
    assert rests
    for reason in (rests, down, f"{down}; release refused: 500"):
        assert waited_s(ended(30.0), ended(20.0, reason=reason), ended(1.0)) is None
    assert waited_s(ended(30.0), ended(20.0, reason="downloading the weights failed"), ended(1.0)) == 240.0


@pytest.mark.parametrize("reason", [UNLISTED, TERMINATED])
def test_one_that_its_provider_took_back_after_it_had_to_be_ready_was_of_use(reason):
    taken = ended(10.0, lasted_s=1201.0, reason=reason)
    assert waited_s(ended(4000.0), ended(3000.0), taken) is None
    assert waited_s(ended(4000.0), ended(3000.0), replace(taken, ended_at=NOW - 20.0)) is not None, (
        "within it: nobody knows"
    )


@pytest.mark.parametrize("reason", [NOT_PLANNED, BY_GC])
def test_one_that_another_plan_or_gc_released_is_no_failure(reason):
    assert waited_s(ended(30.0), ended(20.0, reason=reason), ended(1.0)) is None


def test_a_clock_that_was_ahead_makes_nobody_wait_longer_than_the_pause():
    assert waits([ended(30.0), ended(-6 * HOUR)], ["i1"], NOW, ready_deadline_s=1200.0)[0].until == NOW + 120.0


def test_what_failed_hours_ago_is_forgotten():
    assert waited_s(ended(REMEMBERED_S + 1), ended(1.0)) is None


def test_it_says_how_often_why_when_and_what_to_do():
    (wait,) = waits([ended(10.0), ended(1.0)], ["i0", "i1"], NOW, ready_deadline_s=1200.0)
    assert wait.instance == "i1"
    assert wait.text == (
        "i1 failed 2 times in a row (CUDA could not be initialized): it is leased again at 13:48:39 UTC, or by "
        "`thunderctl up` as soon as that is mended."
    )
