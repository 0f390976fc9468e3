"""A fleet some of whose machines are late: what stands serves meanwhile. In virtual time."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from planner.deployment import Codec, Route
from planner.errors import HostError, Incomplete
from planner.reconcile import StepKind
from tests.planner.plans import split_plan
from tests.thunderctl.rented_world import NAME, RentedWorld, cards, rented_world
from thunderctl.deploying import partly
from thunderctl.deploying.apply import StepState
from thunderctl.deploying.partly import can_serve, late_at, routed_of
from thunderctl.store.values import DeploymentState

WHOLE_S = 550.0
"""What a machine takes at most from the first step on until its engine is ready, were none of them late."""


@pytest.fixture
def market(tmp_path):
    """Four machines, which take as long as each other unless a test says otherwise."""
    with rented_world(tmp_path, cards(4)) as made:
        yield made


def up(world: RentedWorld, machines: int):
    """The outcome, and when routes over which replicas were put in force, in seconds since it began."""
    plan, began = world.run(world.plan(machines)), world.now()
    outcome = world.run(world.up(plan))
    assert world.billed() == world.costing()
    over = [sorted(replica.id for replica in routed.replicas) for routed in world.routed]
    return outcome, list(zip((at - began for at in world.routed_s), over, strict=True))


def lines(world: RentedWorld) -> list[str]:
    done = [one.step for one in world.results if (one.step.what, one.state) == (StepKind.ROUTE, StepState.DONE)]
    return [step.detail for step in done]


def test_one_machine_that_is_late_does_not_keep_the_others_from_serving(market):
    market.slow = {4: 1000.0}
    outcome, routed = up(market, 4)
    assert outcome.error is None
    assert [over for _, over in routed] == [["r0", "r1", "r2"], ["r0", "r1", "r2", "r3"]]
    assert routed[0][0] < 1.5 * WHOLE_S
    assert routed[1][0] > 1000
    assert lines(market)[0] == "without r3, which is late"
    assert market.routed[-1] == outcome.plan
    [event] = [one for one in market.store.events(NAME) if one.kind == "up.partly"]
    assert "serving without r3" in event.message


def test_those_that_come_later_are_added_as_they_come(market):
    market.slow = {3: 400.0, 4: 1000.0}
    outcome, routed = up(market, 4)
    assert outcome.error is None
    assert [len(over) for _, over in routed] == [2, 3, 4]
    assert WHOLE_S + 350 < routed[1][0] < WHOLE_S + 450
    assert lines(market)[0] == "without r2, r3, which come later"


def test_a_machine_that_never_comes_leaves_what_was_put_in_force_meanwhile(market):
    market.market.bundles = cards(2)
    market.market.spoil("create", "", "stuck")
    outcome, routed = up(market, 2)
    assert isinstance(outcome.error, Incomplete)
    assert "1 of 2 replicas, without r1" in str(outcome.error)
    assert [(at < 1.5 * WHOLE_S, over) for at, over in routed] == [(True, ["r0"])], "put in force once"
    assert market.store.deployment(NAME).state is DeploymentState.SERVING


def test_machines_that_come_one_soon_after_the_other_are_routed_once(market):
    market.slow = {4: 60.0}
    _, routed = up(market, 4)
    assert [len(over) for _, over in routed] == [4]


@pytest.mark.parametrize("routed", [None, frozenset({"r9"})], ids=["another plan's", "over what does not stand here"])
def test_routes_that_are_in_force_are_not_taken_from(market, monkeypatch, routed):
    monkeypatch.setattr(partly, "routed_of", lambda _site: routed)
    market.slow = {4: 1000.0}
    assert [len(over) for _, over in up(market, 4)[1]] == [4]


def test_what_stood_before_serves_when_the_rest_is_late(market):
    """The last `up` was ended before it put any routes in force."""
    plan = market.run(market.plan(4))
    market.slow = {4: 1000.0}

    async def cut_off():
        async with asyncio.timeout(WHOLE_S + 20):
            await market.up(plan)

    with pytest.raises(TimeoutError):
        market.run(cut_off())
    assert market.routed == []
    began = market.now()
    assert market.run(market.up(plan)).error is None
    assert [len(one.replicas) for one in market.routed] == [3, 4]
    assert market.routed_s[0] - began <= partly.LEAST_S + 15


def test_routes_that_cannot_be_put_in_force_end_nothing_and_are_tried_with_more(market, monkeypatch):
    tried = []

    async def refused(_site, serving):
        tried.append(len(serving))
        raise HostError("The router did not start.")

    monkeypatch.setattr(partly, "route_over", refused)
    market.slow = {3: 400.0, 4: 1000.0}
    outcome, routed = up(market, 4)
    assert (outcome.error, tried) == (None, [2, 3])
    assert [len(over) for _, over in routed] == [4]


def test_a_fault_of_ours_is_not_hidden_but_comes_last(market, monkeypatch):
    async def broken(_site, _standing):
        raise ZeroDivisionError

    monkeypatch.setattr(partly, "route_over", broken)
    market.slow = {4: 1000.0}
    with pytest.raises(ExceptionGroup):
        up(market, 4)
    assert [len(one.replicas) for one in market.routed] == [4]


@pytest.mark.parametrize(
    ("ready_s", "late_s"), [([0.0], 60.0), ([40.0], 100.0), ([500.0, 520.0, 900.0], 780.0), ([1800.0], 2100.0)]
)
def test_the_rest_is_late_after_half_the_median_again_within_bounds(ready_s, late_s):
    assert late_at(ready_s) == late_s


@pytest.mark.parametrize(
    ("serving", "can"), [((), False), (("r0",), False), (("r1",), False), (("r0", "r1"), True), (("r2",), True)]
)
def test_both_phases_are_needed(serving, can):
    """r0 prefills, r1 decodes, and r2 does both."""
    assert can_serve(split_plan(), frozenset(serving)) is can


def test_a_route_that_crosses_nothing_needs_one_replica_only():
    alone = replace(split_plan(), routes=(Route("r1", "r1", 1.0, Codec.LOCAL),))
    assert can_serve(alone, {"r1"})


@pytest.mark.parametrize(
    ("plan_id", "routed"),
    [("this", {"r0"}), ("before", {"r0"}), ("another", None)],
    ids=["its own", "amended", "other"],
)
def test_routes_of_the_plan_and_of_those_it_took_over_from_are_its_own(monkeypatch, plan_id, routed):
    monkeypatch.setattr(partly, "lineage", lambda _world, _plan: ("this", "before"))
    routes = SimpleNamespace(plan_id=plan_id, replicas=[SimpleNamespace(id="r0")])
    router = SimpleNamespace(may_run=True, routes=lambda: routes)
    assert routed_of(SimpleNamespace(world=SimpleNamespace(router=router), plan=None)) == routed
