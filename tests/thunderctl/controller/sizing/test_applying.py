"""What was found for a fleet that has changed since: what is gone is left out, money and need are counted again."""

from dataclasses import replace

import pytest

from tests.thunderctl.controller.sizing.views import NOW, RATE, START_S, causes, part, quiet, steady, view, window
from thunderctl.controller.sizing.applying import OLD_S, applied
from thunderctl.controller.sizing.policy import sized
from thunderctl.controller.sizing.view import Rules
from thunderctl.fleet.resting import Rest, Resting

RULES = Rules(scale=True, cool_down_s=0.0)
NAMES = tuple(f"i{number}" for number in range(10))


def fleet(at_rest=(), *, usd=1.0, budget=14.0, ready=True, **known):
    parts = tuple(part(one, usd, leased=one not in at_rest, ready=ready and one not in at_rest) for one in NAMES)
    rests = {one: Rest(f"o-{one}", RATE, "few come", NOW - 9000) for one in at_rest}
    return view(*parts, **{"resting": Resting(rests, {}, NOW - 9000), "budget": steady(budget), **known})


BUSY = fleet(NAMES[5:], **quiet(4.5))
LULL = fleet(**quiet(1.0))


def later(asked, **changes):
    return replace(asked, at=asked.at + 2.0, **changes)


def put_to(asked, now, rules=RULES):
    return applied(asked, sized(asked, rules), now, rules)


def test_the_same_fleet_a_moment_later_is_told_the_same():
    for asked in (BUSY, LULL):
        found = put_to(asked, later(asked))
        assert found == sized(asked, RULES)
        assert found != asked.resting


def test_a_machine_that_was_lost_meanwhile_puts_no_growth_off():
    lost = replace(BUSY.parts[0], leased=False, ready=False)
    assert put_to(BUSY, later(BUSY, parts=(lost, *BUSY.parts[1:]))) == sized(BUSY, RULES)


def test_what_the_plan_no_longer_has_is_not_wanted_again():
    woken = sized(BUSY, RULES).woken.keys()
    gone = sorted(woken)[0]
    found = put_to(BUSY, later(BUSY, parts=tuple(one for one in BUSY.parts if one.id != gone)))
    assert found.woken.keys() == woken - {gone}
    assert gone not in found.instances


@pytest.mark.parametrize(("budget", "back"), [(6.5, 1), (5.0, 0)])
def test_no_more_comes_back_than_the_budget_holds_by_now(budget, back):
    assert len(sized(BUSY, RULES).woken) > 1
    found = put_to(BUSY, later(BUSY, budget=steady(budget, NOW + 2)))
    assert len(found.woken) == back
    assert later(BUSY, resting=found).cost_of(later(BUSY, resting=found).awake) <= budget


def test_machines_outside_the_plan_leave_less_of_the_budget():
    found = put_to(BUSY, later(BUSY, outside_usd_per_hour=8.0))
    assert len(found.woken) == 1


def test_nobody_comes_back_whom_the_load_no_longer_asks_for():
    assert put_to(BUSY, later(BUSY, load_rps=1.0)) == BUSY.resting


def test_what_came_back_by_itself_is_noted_and_no_more():
    away = Resting({}, {"i9": "it is busy"}, NOW - 9000)
    asked = fleet(NAMES[9:], **{**quiet(5.9), "resting": away})
    assert put_to(asked, later(asked)) == away
    there = later(asked, parts=fleet().parts)
    assert put_to(asked, there) == Resting({}, {}, away.changed_at)


def test_nobody_goes_to_rest_who_is_needed_by_now():
    assert causes(put_to(LULL, later(LULL)))
    for more in (later(LULL, load_rps=8.0), later(LULL, peaks=LULL.peaks.noted(NOW, 8.0))):
        assert put_to(LULL, more) == LULL.resting


def test_nobody_goes_to_rest_while_a_machine_that_stays_is_missed():
    left = sorted(set(NAMES) - sized(LULL, RULES).instances.keys())[0]
    missed = tuple(replace(one, ready=one.id != left) for one in LULL.parts)
    assert put_to(LULL, later(LULL, parts=missed)) == LULL.resting


def test_a_smaller_budget_lets_go_what_is_left_of_those_that_were_to_go():
    asked = fleet(budget=14.0, **quiet(9.0))
    asked = replace(asked, budget=window(6.0, 100.0, 7000.0))
    going = sized(asked, RULES).instances.keys()
    gone = sorted(going)[0]
    now = later(asked, parts=tuple(one for one in asked.parts if one.id != gone))
    assert put_to(asked, now).instances.keys() == going - {gone}
    assert put_to(asked, later(asked, budget=steady(14.0, NOW + 2))) == asked.resting, "it is no smaller after all"


def test_what_was_decided_since_or_is_old_says_nothing():
    decided = replace(BUSY.resting, changed_at=NOW + 1)
    assert put_to(BUSY, later(BUSY, resting=decided)) is None
    assert put_to(BUSY, replace(BUSY, at=NOW + OLD_S + 1)) is None
    assert put_to(BUSY, replace(BUSY, at=NOW - 1)) is None


def test_a_start_is_long_enough_that_a_budget_of_soon_counts():
    soon = replace(BUSY, budget=window(5.5, START_S, 7000.0))
    assert put_to(BUSY, later(soon, load_rps=4.5)).woken == {}
