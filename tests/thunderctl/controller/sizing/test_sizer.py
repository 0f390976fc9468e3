"""What the policy is asked, put together from leases, agents, the router and the spec."""

from dataclasses import replace

import pytest

from provisioners.leases.journal import LeaseState
from tests.planner.test_substitute import apart, offer
from tests.thunderctl.controller.situations import ALIVE, LOST, NOW, PLAN, resting, row
from thunderctl.controller.sizing.fleet import Fleet, parts_of
from thunderctl.controller.sizing.going import Besides, besides, going_since
from thunderctl.controller.sizing.load import load_of
from thunderctl.controller.sizing.market import quotes_of
from thunderctl.controller.sizing.policy import room_to_come_back
from thunderctl.controller.sizing.sizer import Sizer, _patience_s, rules_of
from thunderctl.fleet.resting import Resting
from thunderctl.spec.spec import Spec

SCALING = Spec.model_validate({"controller": {"scale": "down-and-up"}})
LIKE_PLANNED = [[1150, 211]] * 30


def fleet(*rows, **known):
    rows = rows or tuple(row(name) for name in ("i0", "i1", "i2"))
    values = {
        "at": NOW,
        "plan": PLAN,
        "planned_usd_per_hour": 5.0,
        "resting": Resting(),
        "rows": rows,
        "conditions": dict.fromkeys(("r0", "r1", "r2"), ALIVE),
        "transfer_usd_per_hour": 0.0,
        **known,
    }
    return Fleet(**values)


def test_parts_cost_what_they_are_leased_for_and_else_what_was_planned():
    parts = parts_of(fleet(replace(row("i0"), live_usd_per_hour=4.0), row("i1", LeaseState.CREATED)))
    assert [one.usd_per_hour for one in parts] == [4.0, 1.0, 0.5]
    assert [(one.leased, one.ready) for one in parts] == [(True, True), (True, False), (False, False)]
    assert all(one.start_s > 100 for one in parts)


@pytest.mark.parametrize(("hours", "usd"), [(1, 3.0), (7, 0.5)])
def test_what_was_released_is_thought_to_cost_what_it_did_last_for_a_while(hours, usd):
    gone = replace(row("i1", LeaseState.GONE), live_usd_per_hour=3.0, ended_at=NOW - 3600 * hours)
    assert parts_of(fleet(gone))[1].usd_per_hour == usd


def test_a_machine_whose_replica_is_lost_is_not_ready():
    found = parts_of(fleet(conditions={"r0": ALIVE, "r1": ALIVE, "r2": LOST}))
    assert [one.ready for one in found] == [True, False, False]


def test_machines_that_the_plan_lacks_and_twins_are_counted_besides_it():
    drained = replace(row("i0"), instance="i9", lease_id="l-i9", live_usd_per_hour=2.0)
    twin = replace(row("i0"), lease_id="l-twin", live_usd_per_hour=0.75)
    over = replace(row("i2", LeaseState.GONE), live_usd_per_hour=9.0, ended_at=NOW - 60)
    assert besides(fleet(), {}, 600.0) == Besides()
    assert besides(fleet(row("i0"), row("i1"), row("i2"), drained, twin, over), {}, 600.0) == Besides(2.75)
    leaving = replace(drained, state=LeaseState.DELETING)
    assert besides(fleet(leaving), {}, 600.0) == Besides(going_usd_per_hour=2.0), "until it is proven gone it costs"
    assert besides(fleet(leaving), {"l-i9": NOW - 601}, 600.0) == Besides(2.0), "who is never gone stays"


def test_a_machine_at_rest_costs_until_it_is_proven_gone():
    going = row("i1", LeaseState.DELETING)
    assert besides(fleet(row("i0"), going, resting=resting("i1")), {}, 600.0) == Besides(going_usd_per_hour=1.0)
    assert besides(fleet(row("i0"), going), {}, 600.0) == Besides(), "one that is wanted is counted as itself"


def test_since_when_a_machine_goes_is_remembered_until_it_is_gone():
    going = row("i1", LeaseState.DELETING)
    since = going_since(fleet(row("i0"), going), {"l-i1": NOW - 60, "l-gone": NOW - 90})
    assert since == {"l-i1": NOW - 60}
    assert going_since(fleet(row("i0"), going), {}) == {"l-i1": NOW}


async def test_a_machine_that_is_slow_to_go_makes_no_third_one_rest_until_that_would_have_been_the_better_deal():
    """Its successor runs, and the budget holds the plan and no more."""
    sizer, tight = Sizer(), Spec.model_validate({"budget": {"usd_per_hour": 3.0}})
    rows = (*(row(name) for name in ("i0", "i1", "i2")), replace(row("i1", LeaseState.DELETING), lease_id="l-before"))
    known = {"planned_usd_per_hour": 3.0}
    await sizer.learn(fleet(*rows, **known), tight, {})
    patience_s = _patience_s(parts_of(fleet()), tight)
    for after_s in (0.0, 400.0, patience_s):
        now = fleet(*rows, at=NOW + after_s, **known)
        assert sizer.wanted(now, tight) == Resting(), f"after {after_s} s"
    assert room_to_come_back(sizer.view(now, tight), rules_of(tight), frozenset()) <= 2.0, "it bills"
    late = [sizer.wanted(fleet(*rows, at=NOW + patience_s + more, **known), tight) for more in (10.0, 400.0)]
    assert [bool(found.instances) for found in late] == [False, True], "it never goes: the budget is kept without it"


async def test_what_the_plan_lacks_is_paid_of_the_same_budget_so_that_less_of_the_plan_stays():
    sizer, night = Sizer(), Spec.model_validate({"budget": {"usd_per_hour": 2.5}})
    rows = tuple(row(name) for name in ("i0", "i1", "i2"))
    left_out = replace(row("i0"), instance="i9", lease_id="l-i9", live_usd_per_hour=1.5)
    known = {"planned_usd_per_hour": 2.5}
    await sizer.learn(fleet(*rows, left_out, **known), night, {})
    assert sizer.wanted(fleet(*rows, left_out, **known), night) == Resting(), "prices have to be above it for a while"
    later = fleet(*rows, left_out, at=NOW + 600, **known)
    found = sizer.wanted(later, night)
    kept = sum(one.usd_per_hour for one in parts_of(later) if one.id not in found.instances)
    assert found.instances
    assert kept + 1.5 <= 2.5


async def test_where_nothing_is_stated_rests_or_costs_too_much_nothing_is_worked_out():
    sizer = Sizer()
    await sizer.learn(fleet(), Spec(), {})
    assert sizer.view(fleet(), Spec()) is None
    assert sizer.wanted(fleet(), Spec()) is None
    await sizer.learn(fleet(), SCALING, {})
    assert sizer.wanted(fleet(), SCALING) == Resting()


async def test_the_whole_fleet_serves_what_the_plan_predicts():
    sizer = Sizer()
    await sizer.learn(fleet(resting=resting("i1")), Spec(), {})
    view = sizer.view(fleet(resting=resting("i1")), Spec())
    assert view.serves(frozenset({"i0", "i1", "i2"})) == pytest.approx(PLAN.predicted.goodput_rps)
    assert view.at_rest == {"i1"}
    assert view.budget.now_usd_per_hour == 5.0


async def test_the_market_is_looked_at_while_prices_are_above_the_budget_and_not_often():
    sizer, dear = Sizer(), fleet(*(replace(row(name), live_usd_per_hour=2.0) for name in ("i0", "i1", "i2")))
    assert not sizer.market_is_due(NOW)
    await sizer.learn(dear, Spec(), {})
    sizer.wanted(dear, Spec())
    assert [sizer.market_is_due(NOW + after) for after in (0, 10, 599, 600)] == [True, False, False, True]
    sizer.wanted(fleet(), Spec())
    assert not sizer.market_is_due(NOW + 1300)


@pytest.mark.parametrize(
    ("observed", "load"),
    [
        ({}, None),
        (None, None),
        ({"window_s": 59.0, "rate_rps": 1.0}, None),
        ({"window_s": 10.0, "rate_rps": 2000.0}, 2000.0),
        ({"window_s": 300.0, "rate_rps": 2.0}, 2.0),
        ({"window_s": 300.0, "rate_rps": 2.0, "lengths": LIKE_PLANNED}, 2.0),
        ({"window_s": 300.0, "rate_rps": 2.0, "lengths": [[2300, 211]] * 30}, 4.0),
        ({"window_s": 300.0, "rate_rps": 2.0, "lengths": [[115, 422]] * 30}, 4.0),
        ({"window_s": 300.0, "rate_rps": 2.0, "lengths": [[9, 9]] * 3}, 2.0),
    ],
    ids=[
        "unheard",
        "silent",
        "new",
        "so busy that the router remembers seconds",
        "few",
        "planned",
        "longer prompts",
        "longer answers",
        "too few to tell",
    ],
)
def test_load_is_counted_in_requests_like_the_plans(observed, load):
    assert load_of(observed, PLAN) == load


def test_the_cheapest_machine_that_does_the_same_job_is_quoted():
    quoted = quotes_of(apart(), (offer("dear", 0.9), offer("cheap", 0.5)))
    assert {one.usd_per_hour for one in quoted.values()} == {0.5}
    assert quotes_of(apart(), ()) == {}
