"""Other phases are put in force, by a command or by the controller, and whoever does so is killed at every point in
between: what is wanted comes into force, and replicas come and go as ever."""

import os
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import pytest

from planner.errors import Incomplete
from tests.thunderctl.controller.adapting.test_adapter import TRAFFIC, always_better, sure, turned
from tests.thunderctl.controller.situations import PLAN, row, situation
from tests.thunderctl.controller.worlds import ControllerWorld
from thunderctl.controller.adapting import adapter
from thunderctl.controller.decide import decide, is_calm
from thunderctl.controller.situation import Routing
from thunderctl.controller.steps import Route
from thunderctl.deploying.lifecycle import flip
from thunderctl.fleet.same_engines import takes_over

POINTS = ("K5", "K6", "K4")
WANTED = turned(PLAN)
LEASED = frozenset((one.id, one.offer_id) for one in PLAN.instances)


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    return ControllerWorld(tmp_path / "controller")


class Killed(BaseException):
    """What the process would be."""


@contextmanager
def killed_at(point):
    def die():
        raise Killed

    crash = patch.dict(os.environ, {"THUNDER_CRASH_AT": point})
    with crash, patch("provisioners.crash.die", die), pytest.raises(Killed):
        yield


async def killed_command(made, point, wanted=WANTED):
    """`rebalance` to another plan, which ends there."""
    with killed_at(point):
        await flip(made.world, wanted)


async def in_force(made, plan, within_s=30):
    """The controller until the routes are all of a plan's."""
    phases = {one.id: one.phase for one in plan.replicas}
    await made.until(
        lambda: (
            made.router.is_running
            and made.router.in_force.plan_id == plan.plan_id
            and {one.id: one.phase for one in made.router.in_force.replicas} == phases
        ),
        within_s=within_s,
    )
    assert made.store.saved.plan_id == plan.plan_id


async def comes_and_goes(made):
    """What a deployment half-way could not do: a replica that was lost comes back."""
    made.contact.deaf = {"i0"}
    await made.until(lambda: made.router.replicas == {"r2"}, within_s=10)
    made.contact.deaf = set()
    await made.until(lambda: made.router.replicas == {"r0", "r1", "r2"}, within_s=20)


@pytest.mark.parametrize("point", POINTS)
async def test_what_a_command_wanted_that_was_killed_comes_into_force(made, point):
    await made.run(20)
    await killed_command(made, point)
    await in_force(made, WANTED)
    await comes_and_goes(made)
    assert made.alerts == ()


@pytest.mark.parametrize("point", POINTS)
async def test_what_a_controller_wanted_that_was_killed_the_next_one_puts_in_force(made, point, monkeypatch):
    monkeypatch.setattr(adapter, "assess", always_better)
    monkeypatch.setattr(adapter, "confirmed", sure)
    made.router.traffic = TRAFFIC
    with killed_at(point):
        await made.run(200)
    made.router.traffic = {}
    made.again()
    await in_force(made, WANTED)
    await comes_and_goes(made)


@pytest.mark.parametrize("point", POINTS)
async def test_it_does_so_where_the_router_died_at_that_moment(made, point):
    await made.run(20)
    await killed_command(made, point)
    made.router.is_running = False
    made.again()
    await in_force(made, WANTED)
    await comes_and_goes(made)


@pytest.mark.parametrize("point", POINTS)
async def test_it_does_so_with_what_is_left_where_a_machine_was_lost_at_that_moment(made, point):
    await made.run(20)
    await killed_command(made, point)
    made.contact.deaf = {"i0"}
    await made.until(lambda: made.router.in_force.plan_id == WANTED.plan_id, within_s=30)
    await made.until(lambda: made.router.replicas == {"r2"}, within_s=10)
    made.contact.deaf = set()
    await in_force(made, WANTED)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("beside", [False, True], ids=["at once", "after the controller"])
async def test_a_second_one_that_follows_has_the_last_word(made, point, beside):
    third = turned(WANTED)
    await made.run(20)
    await killed_command(made, point)
    if beside:
        await in_force(made, WANTED)
    await flip(made.world, third)
    await in_force(made, third)
    await comes_and_goes(made)
    epochs = [one.epoch for one in made.router.served]
    assert epochs == sorted(set(epochs))


async def test_a_router_that_can_not_be_told_is_told_later(made):
    await made.run(20)
    made.router.refuses = True
    with pytest.raises(Incomplete, match="is wanted and not in force yet: The router can't be reached"):
        await flip(made.world, WANTED)
    await made.run(30)
    assert any("Not done yet: requests to r0, r1, r2" in text for text in made.alerts)
    made.router.refuses = False
    await in_force(made, WANTED, within_s=60)
    (said,) = made.events("rebalance")
    assert said.endswith("r0 prefill → decode, r1 decode → prefill")


async def test_the_flips_that_a_controller_carried_out_for_another_count_as_such(made):
    await made.run(20)
    await killed_command(made, "K5")
    await in_force(made, WANTED)
    (said,) = made.events("rebalance")
    assert said.endswith("r0 prefill → decode, r1 decode → prefill")


async def test_an_up_that_is_half_way_to_other_machines_is_left_alone(made):
    moved = replace(PLAN.instance("i2"), offer_id="another")
    other = replace(WANTED, instances=(*PLAN.instances[:2], moved), plan_id="elsewhere")
    made.store.known.append(other)
    made.store.saved = replace(made.store.saved, plan_id="elsewhere")
    await made.run(60)
    assert made.router.served == []


async def test_an_up_that_is_half_way_to_other_replicas_on_the_same_machines_costs_nobody_its_requests(made):
    """r9 takes r0's place: until its engine is ready r0 serves on, and then the routes are the new plan's."""
    others = [replace(one, id="r9") if one.id == "r0" else one for one in PLAN.replicas]
    ends = {"r0": "r9"}
    routes = [replace(one, prefill=ends.get(one.prefill, one.prefill)) for one in PLAN.routes]
    other = replace(PLAN, replicas=tuple(others), routes=tuple(routes), plan_id="half-way")
    made.store.known.append(other)
    made.store.saved = replace(made.store.saved, plan_id="half-way")
    await made.run(60)
    assert made.router.served == []
    made.contact.started = {"i0": ("r9",)}
    await made.until(lambda: made.router.in_force.plan_id == "half-way", within_s=30)


# The decision.


def test_routes_of_the_plan_before_are_replaced_and_nothing_else_is_changed_meanwhile():
    behind = Routing(WANTED, frozenset({"r0", "r1", "r2"}), behind=True)
    now = situation(routing=behind, plan_id=WANTED.plan_id)
    assert decide(now) == (
        Route(frozenset({"r0", "r1", "r2"}), f"the routes were not yet those of plan {WANTED.plan_id}"),
    )
    assert not is_calm(now)
    assert is_calm(replace(now, routing=replace(behind, behind=False)))


def test_a_machine_that_the_plan_lacks_is_not_released_before_its_routes_are_gone():
    smaller = replace(WANTED, replicas=WANTED.replicas[:2], instances=WANTED.instances[:1])
    going = row("i2").moved(row("i2").state.DRAINING, reason="its lease ends")
    behind = Routing(smaller, frozenset({"r0", "r1", "r2"}), {"r2": 1}, behind=True)
    now = situation(row("i0"), going, routing=behind, plan_id=smaller.plan_id)
    assert [type(step) for step in decide(now)] == [Route]


# Which plan may take over.


def test_other_phases_take_over():
    assert takes_over(WANTED, PLAN, frozenset())


def test_fewer_replicas_take_over_and_more_do_where_their_machines_are_there():
    fewer = replace(PLAN, replicas=PLAN.replicas[:2], instances=PLAN.instances[:1])
    assert takes_over(fewer, PLAN, frozenset())
    assert takes_over(PLAN, fewer, LEASED)
    assert not takes_over(PLAN, fewer, frozenset())


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAN, dtype="fp8"),
        replace(PLAN, max_model_len=1),
        replace(PLAN, llm=replace(PLAN.llm, name="another")),
        replace(PLAN, instances=tuple(replace(one, offer_id="another") for one in PLAN.instances)),
        replace(PLAN, replicas=tuple(replace(one, stages=(*one.stages, one.stages[0])) for one in PLAN.replicas)),
    ],
    ids=["dtype", "length", "model", "machines", "layout"],
)
def test_what_needs_other_engines_or_machines_does_not(other):
    assert not takes_over(other, PLAN, LEASED)
