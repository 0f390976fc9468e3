"""The policy: whatever is assessed, it acts seldom, and never for less than the margin."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from planner.workload import Workload
from tests.planner.plans import split_plan
from thunderctl.controller.adapting.assessment import Assessment, MovedLink
from thunderctl.controller.adapting.drift import IN_A_ROW, MOST_GROWTH, Change, Drift, Pace, cooling_until, growth_of

PACE = Pace(margin=0.03, cool_down_s=300.0)
PLAN = split_plan()
WORKLOAD = Workload("observed", ((100, 10), (200, 20)), 1.0)
THERE, BACK = {"r0": ("prefill", "decode")}, {"r0": ("decode", "prefill")}
MOVED = (MovedLink("i0", "i1", 8.0, 1.0),)


def assessed(at, gain, *, epoch=1, moved=()):
    plan = PLAN if gain > 0 else None
    return Assessment(at, epoch, WORKLOAD, WORKLOAD, 0.5, 0.5 + gain, plan, WORKLOAD, (), moved)


def after(*found, pace=PACE):
    drift = Drift(pace)
    for one in found:
        drift = drift.after(one)
    return drift


@st.composite
def days(draw):
    """Half an hour to two of looks at any gains, in any phases."""
    gains = draw(st.lists(st.sampled_from([0.0, 0.01, 0.029, 0.03, 0.2, None]), min_size=4, max_size=120))
    return [(30.0 * number, gain) for number, gain in enumerate(gains, 1)]


def acted(looks):
    """The changes that the policy makes of them, each of which takes back the one before, and the gains it saw."""
    drift, changes, paid = Drift(PACE), [], []
    for at, gain in looks:
        found = Assessment(at, len(changes)) if gain is None else assessed(at, gain, epoch=len(changes))
        drift = drift.after(found)
        if drift.verdict(changes).acts:
            changes.append(Change(at, BACK if len(changes) % 2 else THERE))
            paid.append(gain)
    return changes, paid


@given(days())
def test_no_two_changes_are_within_the_cool_down_of_the_first(looks):
    changes, _ = acted(looks)
    for number, change in enumerate(changes[1:], 1):
        assert change.at >= cooling_until(changes[:number], PACE)
        assert change.at - changes[number - 1].at >= PACE.cool_down_s


@given(days())
def test_nothing_is_changed_for_less_than_the_margin(looks):
    assert all(gain is not None and gain >= PACE.margin for gain in acted(looks)[1])


@given(days())
def test_flips_back_and_forth_are_bounded_by_the_longest_cool_down(looks):
    changes, _ = acted(looks)
    assert len(changes) <= 3 + looks[-1][0] / PACE.longest_s


def test_one_look_is_not_enough_and_two_in_a_row_are():
    assert not after(assessed(30, 0.1)).verdict([]).acts
    assert after(assessed(30, 0.1)).verdict([]).waits == "another look has to agree"
    assert after(assessed(30, 0.1), assessed(60, 0.1)).verdict([]).acts
    assert IN_A_ROW == 2


def test_a_look_that_finds_nothing_to_gain_or_sees_too_little_ends_the_row():
    assert not after(assessed(30, 0.1), assessed(60, 0.01), assessed(90, 0.1)).verdict([]).acts
    assert not after(assessed(30, 0.1), Assessment(60, 1), assessed(90, 0.1)).verdict([]).acts


def test_looks_at_other_routes_are_not_of_one_row():
    assert not after(assessed(30, 0.1, epoch=1), assessed(60, 0.1, epoch=2)).verdict([]).acts


def test_a_change_by_hand_counts_for_the_cool_down():
    drift = after(assessed(30, 0.1), assessed(60, 0.1))
    assert not drift.verdict([Change(10.0)]).acts
    assert drift.verdict([Change(10.0)]).cooling_until == 310.0
    assert drift.verdict([Change(60.0 - PACE.cool_down_s)]).acts


def test_each_change_that_takes_back_a_recent_one_doubles_the_cool_down_up_to_a_limit():
    changes = [Change(1000.0 * number, BACK if number % 2 else THERE) for number in range(6)]
    assert [growth_of(changes[:count], PACE) for count in range(1, 7)] == [1, 2, 4, 4, 4, 4]
    assert MOST_GROWTH == 4


def test_a_change_of_routes_alone_between_flips_hides_none_of_them():
    flips = [Change(0.0, THERE), Change(300.0, BACK)]
    assert growth_of([flips[0], Change(1.0), flips[1], Change(300.0)], PACE) == 2


def test_what_stood_for_long_is_taken_back_at_the_usual_pace():
    """An hour apart is no flapping: a workload that changes by the hour is followed."""
    assert growth_of([Change(3600.0 * number, BACK if number % 2 else THERE) for number in range(6)], PACE) == 1


def test_other_replicas_flips_are_no_flapping():
    assert growth_of([Change(0.0, THERE), Change(600.0, {"r1": ("decode", "prefill")})], PACE) == 1


def test_where_a_way_moved_less_has_to_be_gained():
    small = PACE.margin / 2
    assert not after(assessed(30, small), assessed(60, small)).verdict([]).acts
    assert after(assessed(30, small, moved=MOVED), assessed(60, small, moved=MOVED)).verdict([]).acts


def test_what_was_not_confirmed_is_not_asked_again_for_a_cool_down():
    drift = after(assessed(30, 0.1), assessed(60, 0.1)).declined(60.0)
    for at in (90.0, 120.0):
        drift = drift.after(assessed(at, 0.1))
    assert drift.verdict([]).waits == "longer simulations did not confirm it"
    assert drift.after(assessed(360.0, 0.1)).verdict([]).acts


def test_the_past_counts_only_where_changes_took_each_other_back():
    drift = after(*(assessed(30.0 * number, 0.0) for number in range(1, 21)))
    steady = [Change(0.0, THERE)]
    assert drift.past(600.0, steady) == ()
    swung = [Change(0.0, THERE), Change(300.0, BACK)]
    past = drift.past(600.0, swung)
    assert len(past) == 4
    assert all(one.lengths == WORKLOAD.lengths for one in past)


def test_what_is_remembered_of_the_past_is_bounded():
    found = (
        replace(assessed(30.0 * number, 0.0), workload=Workload("o", ((1, 1),) * 5000, 1.0)) for number in range(200)
    )
    drift = after(*found)
    assert len(drift.seen) <= PACE.longest_s / 30 + 1
    assert max(len(workload.lengths) for _, workload in drift.seen) <= 200
