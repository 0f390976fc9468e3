"""Instances that rest, as steps: committed, drained, out of the routes, released; and back again."""

from dataclasses import replace
from decimal import Decimal

import pytest

from provisioners.leases.journal import Cause, LeaseState
from provisioners.leases.limits import Due
from tests.thunderctl.controller.situations import ALIVE, LOST, NOW, PLAN, done, limit, resting, row, situation
from thunderctl.controller.alerts import alerts_of
from thunderctl.controller.decide import decide
from thunderctl.controller.situation import Routing
from thunderctl.controller.steps import Drain, Keep, Release, Replace, Resize, Route
from thunderctl.fleet.resting import Resting
from thunderctl.store.values import DeploymentState

WHY = "it rests: a smaller budget"
SMALL = resting("i1", "i2")


def to_rest(**known):
    return situation(**{"wanted_rest": SMALL, **known})


def draining(**known):
    """i1 and i2 drain, and r2 on them is out of the routes."""
    rows = [row(name, LeaseState.DRAINING, reason=WHY, drained_for=Cause.REST) for name in ("i1", "i2")]
    routing = Routing(PLAN, frozenset({"r0", "r1"}), {"r2": 1})
    return situation(row("i0"), *rows, **{"resting": SMALL, "wanted_rest": SMALL, "routing": routing, **known})


def test_what_is_to_rest_is_committed_then_drained_then_out_of_the_routes_then_released():
    now = to_rest()
    (commit,) = decide(now)
    assert commit == Resize(SMALL, "i1, i2 is to rest: a smaller budget")
    now = done(now, commit)
    first, second, route = decide(now)
    assert (first, second) == (Drain("l-i1", WHY, Cause.REST), Drain("l-i2", WHY, Cause.REST))
    assert route == Route(frozenset({"r0", "r1"}), f"r2 left out: {WHY}")
    for step in (first, second, route):
        now = done(now, step)
    assert decide(now) == (Release("l-i1", WHY), Release("l-i2", WHY))
    for step in decide(now):
        now = done(now, step)
    assert decide(now) == ()


def test_requests_under_way_are_waited_for():
    assert decide(draining()) == ()
    assert decide(draining(drained_s={"l-i1": 121.0})) == (Release("l-i1", WHY),)


def test_what_rests_is_neither_replaced_nor_called_lost():
    small = situation(
        row("i0"),
        resting=SMALL,
        wanted_rest=SMALL,
        routing=Routing(PLAN, frozenset({"r0", "r1"})),
        conditions={"r0": ALIVE, "r1": ALIVE, "r2": LOST},
    )
    assert decide(small) == ()
    assert alerts_of(small) == ()


def test_what_is_lost_beside_it_is_replaced():
    now = situation(
        row("i0", expires_at=NOW + 7200),
        resting=resting("i1"),
        routing=Routing(PLAN, frozenset({"r0", "r1"})),
        conditions={"r0": ALIVE, "r1": ALIVE, "r2": LOST},
        lost=(row("i2", LeaseState.GONE, reason="outbid"),),
    )
    assert decide(now) == (Replace(("i2",), "i2 is gone: outbid", NOW + 7200),)


def test_what_is_wanted_again_is_leased_though_lost_machines_are_not_replaced():
    woken = resting(i1="the budget has room", i2="the budget has room")
    now = situation(
        row("i0", expires_at=NOW + 7200),
        resting=woken,
        wanted_rest=woken,
        routing=Routing(PLAN, frozenset({"r0", "r1"})),
        conditions={"r0": ALIVE, "r1": ALIVE, "r2": LOST},
        lost=tuple(row(name, LeaseState.GONE, expires_at=NOW - 60) for name in ("i1", "i2")),
        replaces=False,
    )
    assert decide(now) == tuple(
        Replace((name,), f"{name} is wanted again: the budget has room", NOW + 7200) for name in ("i1", "i2")
    )
    assert decide(replace(now, usd_per_hour=Decimal("5.01"))) == ()
    assert decide(replace(now, limits=(limit(Due.WARN, "i0"),))) == ()


def test_a_machine_that_drains_to_rest_and_is_wanted_again_serves_on():
    now = draining(wanted_rest=Resting())
    assert decide(now)[0] == Resize(Resting(), "what came back is noted")
    back = done(now, decide(now)[0])
    assert decide(back)[:2] == (Keep("l-i1", "it is to rest no more"), Keep("l-i2", "it is to rest no more"))
    for step in decide(back):
        back = done(back, step)
    assert {one.state for one in back.rows} == {LeaseState.READY}
    assert back.routed == {"r0", "r1", "r2"}
    assert decide(back) == ()


def test_where_nobody_else_can_serve_nothing_goes_to_rest_and_what_drains_comes_back():
    lost = {"r0": LOST, "r1": LOST, "r2": ALIVE}
    kept = decide(draining(conditions=lost))
    assert kept[:2] == (Keep("l-i1", "nobody else can serve"), Keep("l-i2", "nobody else can serve"))
    assert not any(isinstance(step, Drain) for step in decide(to_rest(resting=SMALL, conditions=lost)))


@pytest.mark.parametrize(
    "known",
    [
        {"state": DeploymentState.STOPPING},
        {"state": DeploymentState.STARTING},
        {"plan_id": "another"},
        {"limits": (limit(Due.DRAIN, "i0"),)},
        {"wanted_rest": None},
    ],
    ids=lambda known: "-".join(known),
)
def test_no_size_is_changed_while_something_else_is_at_work(known):
    assert not any(isinstance(step, Resize) for step in decide(to_rest(**known)))


@pytest.mark.parametrize("known", [{"problems": {"l-i1": "outbid"}}, {"limits": (limit(Due.DRAIN, "i1"),)}])
def test_a_machine_that_goes_for_another_reason_as_well_is_not_kept(known):
    assert Keep("l-i1", "it is to rest no more") not in decide(draining(resting=Resting(), **known))


def test_a_down_releases_what_drained_to_rest():
    now = draining(state=DeploymentState.STOPPING, drained_s={"l-i1": 121.0})
    assert Release("l-i1", WHY) in decide(now)
