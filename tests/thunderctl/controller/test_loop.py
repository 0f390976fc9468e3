"""The controller's days: hours pass in no time, and everything that can go wrong does."""

import asyncio
import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from subprocess import Popen
from types import SimpleNamespace
from typing import ClassVar
from unittest.mock import patch

import psutil
import pytest

from planner.errors import HostError, ProvisioningError, Refused
from provisioners.base import Label, Listing, Machine, PriceRise
from provisioners.leases.adopt import condemned
from provisioners.leases.journal import Cause, LeaseRow, LeaseState
from runtime.messages import agent_name
from tests.provisioners.fakes import OWNER, SETTLE_S
from tests.thunderctl.controller import worlds
from tests.thunderctl.controller.situations import PLAN, REPLICAS
from tests.thunderctl.controller.worlds import HOURS, ControllerWorld, FakeRouter
from thunderctl.controller import act
from thunderctl.controller.clock import HELD_S
from thunderctl.controller.listings import SELDOM_S, WATCHFUL_S
from thunderctl.controller.loop import IDLE_S
from thunderctl.controller.process import REPLACING
from thunderctl.deploying.routing import DRAIN_DEADLINE_S
from thunderctl.deploying.taking_down import take_down
from thunderctl.spec.spec import Spec
from thunderctl.store.locks import Held
from thunderctl.store.values import DeploymentState, Holder


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(act.subprocess, "Popen", Ups())
    return lambda **known: ControllerWorld(tmp_path / f"controller{len(list(tmp_path.iterdir()))}", **known)


class Ups:
    """The `up`s that were begun, each of which ends without having found anything."""

    commands: ClassVar[list[list[str]]] = []

    def __call__(self, command, **_):
        self.commands.append(command)
        return self

    def poll(self):
        return 0


class Killed(BaseException):
    """The process died here."""


def die():
    raise Killed


async def test_a_quiet_day_costs_a_listing_every_two_minutes_and_nothing_is_done(world):
    made = world(tick_s=60.0)
    await made.run(24 * HOURS)
    assert made.events() == []
    assert made.alerts == ()
    assert made.contact.asked >= 24 * 60
    assert made.cloud.listings <= 24 * HOURS / SELDOM_S + 10
    assert made.store.locked == made.cloud.listings
    assert made.router.served == []


async def test_leases_are_warned_of_drained_and_gone_by_their_end(world):
    made = world(lease_h=12.0, tick_s=30.0)
    end = made.clock.at + 12 * HOURS
    made.router.requests = {"r0": 1}
    await made.until(lambda: not made.cloud.machines, within_s=12 * HOURS)
    assert made.clock.at <= end
    warned = next(at for at, kind, _ in made.store.told if kind == "alert")
    drained = next(at for at, kind, _ in made.store.told if kind == "controller.drain")
    assert end - warned == pytest.approx(1 * HOURS, abs=60)
    assert drained < end - 120
    assert "max_hours" in made.events("controller.drain")[0]
    assert not made.router.is_running
    await made.until(lambda: made.state("i0") is LeaseState.GONE, within_s=SETTLE_S + 60)
    assert {made.state(name) for name in ("i0", "i1", "i2")} == {LeaseState.GONE}
    assert made.store.saved.plan_id  # what is wanted is still known: `up` brings it up again


async def test_a_controller_that_alone_reaches_nobody_leaves_the_others_to_the_router_when_a_lease_ends(world):
    made = world(ends_h={"i1": 2.0}, tick_s=10.0)
    await made.run(60)
    made.contact.deaf = {"i0", "i1", "i2"}
    await made.until(lambda: "m-i1" not in made.cloud.machines, within_s=2 * HOURS)
    await made.run(300)
    assert made.router.is_running
    assert not made.router.is_closed
    assert made.router.replicas == {"r0", "r1"}


async def test_money_that_runs_out_ends_the_fleet_before_it_is_spent(world):
    made = world(tick_s=10.0, spec=Spec.model_validate({"budget": {"max_total_usd": 12.0}}))
    await made.until(lambda: not made.cloud.machines, within_s=4 * HOURS)
    assert made.clock.at - made.store.told[0][0] <= HOURS
    assert "max_total_usd" in made.events("alert")[0]


async def test_an_old_stray_that_gc_ends_takes_no_machine_down(world):
    made = world()
    await made.run(300)
    label = str(Label("another owner", "d", "old"))
    stray = Machine("m-old", label, "running", 2.0, created_at=made.clock.at - 5 * 24 * HOURS)
    made.store.add_lease(condemned(stray, "vast", made.store.leases(), made.clock.at))
    await made.run(600)
    assert {made.state(name) for name in ("i0", "i1", "i2")} == {LeaseState.READY}
    assert made.events("controller.drain") == []


async def test_money_that_is_found_to_be_spent_is_said_and_requests_under_way_are_finished(world):
    made = world(lease_h=48.0)
    await made.run(2 * HOURS)
    made.router.requests = {"r0": 1}
    made.store.saved = replace(made.store.saved, spec={"budget": {"max_total_usd": 3.0}})
    await made.until(lambda: made.router.is_closed, within_s=40)
    assert any("max_total_usd" in text for text in made.alerts)
    await made.run(60)
    assert "m-i0" in made.cloud.machines
    await made.until(lambda: not made.cloud.machines, within_s=DRAIN_DEADLINE_S)


async def test_a_lease_that_is_drained_for_its_end_and_is_given_a_later_one_serves_on(world):
    made = world(lease_h=2.0)
    made.router.requests = {"r0": 1, "r2": 1}
    await made.until(lambda: made.state("i0") is LeaseState.DRAINING, within_s=2 * HOURS)
    for one in made.store.leases("d"):
        assert one.drained_for is Cause.TIME
        ready = one.moved(LeaseState.READY)  # what `up --max-hours 5` does
        made.store.update_lease(replace(ready, expires_at=made.clock.at + 5 * HOURS), was=one.state)
    await made.run(HOURS)
    assert {made.state(name) for name in ("i0", "i1", "i2")} == {LeaseState.READY}
    assert made.router.replicas == {"r0", "r1", "r2"}
    assert not made.router.is_closed


@pytest.mark.parametrize("point", ["D1", "D2"])
async def test_a_down_that_is_killed_is_gone_on_with_to_its_end(world, point):
    made = world(tick_s=10.0)
    await made.run(60)
    made.router.requests = {"r0": 1}
    crash = patch.dict(os.environ, {"THUNDER_CRASH_AT": point})
    with crash, patch("provisioners.crash.die", die), pytest.raises(Killed):
        await take_down(made.world, report=lambda _: None)
    assert {made.state(name) for name in ("i0", "i1", "i2")} == {LeaseState.READY}
    await made.until(lambda: made.alerts, within_s=30)
    await made.run(20)
    assert any("`thunderctl down` did not come to its end: i0" in text for text in made.alerts)
    if point == "D1":
        assert made.router.is_closed
        assert "m-i0" in made.cloud.machines, "a request is under way"
        made.router.requests = {}
    states = ("i0", "i1", "i2")
    within_s = DRAIN_DEADLINE_S + SETTLE_S + 60
    await made.until(lambda: all(made.state(name) is LeaseState.GONE for name in states), within_s=within_s)
    assert not made.cloud.machines
    assert not made.router.is_running
    await made.run(30)
    assert made.alerts == ()


async def test_a_down_that_is_at_work_is_left_alone(world):
    made = world(tick_s=10.0)
    await made.run(60)
    made.store.saved = replace(made.store.saved, state=DeploymentState.STOPPING)
    made.store.held = "down"
    await made.run(300)
    assert {made.state(name) for name in ("i0", "i1", "i2")} == {LeaseState.READY}
    assert made.alerts == ()


async def test_a_stored_spec_of_another_version_disarms_nothing_and_is_said(world):
    made = world(lease_h=2.0, tick_s=20.0)
    await made.run(60)
    made.store.saved = replace(made.store.saved, spec={"leases": {"grace_s": 5}})
    await made.run(60)
    assert any("leases.grace_s can't be read" in text for text in made.alerts)
    await made.until(lambda: not made.cloud.machines, within_s=2 * HOURS)


async def test_an_agent_that_goes_silent_is_out_of_the_routes_within_three_seconds(world):
    made = world()
    await made.run(60)
    made.contact.deaf = {"i0"}
    took = await made.until(lambda: made.router.replicas == {"r2"}, within_s=3.0)
    assert took <= 3.0
    assert made.events("controller.route") == [
        "requests to r2: r0 left out: i0: its agent did not answer within 2.5 s; "
        "r1 left out: i0: its agent did not answer within 2.5 s",
        made.events("controller.route.done")[0],
    ]
    assert made.router.in_force.epoch == 2
    assert made.router.in_force.plan_id == made.store.saved.plan_id
    assert any("r0, r1 can't serve" in text for text in made.alerts)
    made.contact.deaf = set()
    await made.until(lambda: made.router.replicas == {"r0", "r1", "r2"}, within_s=10.0)
    await made.run(10)
    assert made.alerts == ()
    assert made.router.in_force.epoch == 3


@pytest.mark.parametrize(("down", "doubted"), [(("r0",), set()), (("r0", "r1"), {"l-i0"}), ((), set())])
async def test_a_machine_is_doubted_of_which_the_router_has_given_up_all(world, down, doubted):
    """Its agent is not waited for as others are: it is missed by both, if it is gone."""
    made = world()
    addresses = tuple(
        replace(one, server_name=agent_name(f"l-{next(r.instances[0] for r in PLAN.replicas if r.id == one.id)}"))
        for one in made.router.in_force.replicas
    )
    made.router.in_force = replace(made.router.in_force, replicas=addresses)
    made.router.traffic = {"replicas": [{"id": one, "healthy": one not in down, "reason": ""} for one in REPLICAS]}
    real = made.contact.hear

    async def hear(*given):
        await asyncio.sleep(0.01)  # the router answers meanwhile
        return await real(*given)

    made.contact.hear = hear
    await made.observer.hear()
    assert made.contact.doubted == doubted


async def test_an_agent_that_answers_every_other_time_makes_no_epochs(world):
    made = world()

    async def hear(rows, machines, real=made.contact.hear):
        made.contact.deaf ^= {"i0"}
        return await real(rows, machines)

    made.contact.hear = hear
    await made.run(600)
    assert made.router.served == []


async def test_an_engine_that_failed_is_left_out_in_the_next_tick(world):
    made = world()
    await made.run(60)
    made.contact.failed = {"r1"}
    assert await made.until(lambda: made.router.replicas == {"r0", "r2"}, within_s=2.0) <= 2.0
    phases = {one.id: one.phase for one in made.router.in_force.replicas}
    assert phases["r0"].decodes, "nobody else on that route decodes"


async def test_a_machine_that_the_provider_took_back_is_gone_by_two_listings(world):
    made = world()
    await made.run(300)
    del made.cloud.machines["m-i1"]
    await made.until(lambda: made.router.replicas == {"r0", "r1"}, within_s=10)
    assert made.state("i1") is LeaseState.READY
    took = await made.until(lambda: made.state("i1") is LeaseState.GONE, within_s=SETTLE_S + 30)
    assert took >= SETTLE_S
    assert "the provider no longer lists it" in made.events("lease.gone")[0]


async def test_a_machine_that_shows_up_after_its_lease_was_given_up_counts_again_within_the_hour(world):
    made = world(leased=(), tick_s=10.0)
    label, at = str(Label(OWNER, "d", "late")), made.clock.at
    sent = LeaseRow("late", OWNER, "d", "p", "i0", "vast", "", "o", label, 1.0, LeaseState.SENT, at, at)
    made.store.add_lease(sent.moved(LeaseState.LOST, reason="two complete listings lacked it", ended_at=at))
    await made.run(1800)
    made.cloud.machines["m-late"] = Machine("m-late", label, "running", 1.5, created_at=at)
    await made.until(lambda: made.events("lease.created"), within_s=SELDOM_S + 20)
    assert made.state("i0").may_cost


async def test_what_was_lost_is_replaced_by_an_up_that_is_tried_again_ever_less_often(world):
    Ups.commands.clear()
    made = world(lease_h=48.0, tick_s=10.0)
    await made.run(120)
    del made.cloud.machines["m-i1"]
    await made.until(lambda: Ups.commands, within_s=SELDOM_S + SETTLE_S + 60)
    assert Ups.commands[0][-7:-1] == ["up", "--yes", "--replacing", "--only", "i1", "--until"]
    assert float(Ups.commands[0][-1]) == made.store.leases("d")[0].expires_at
    assert made.events("controller.replace") == [
        "a machine in the place of i1: i1 is gone: the provider no longer lists it"
    ]
    await made.run(2 * HOURS)
    assert len(Ups.commands) == 6, "2, 4, 8, 16 and 32 minutes after one another"
    assert made.state("i1") is LeaseState.GONE


async def test_what_never_comes_to_serve_is_leased_ever_less_often_whatever_the_controller_forgets(world, monkeypatch):
    """It is started anew every ten minutes, and each `up` leases a machine that fails at boot."""
    made = world(lease_h=48.0, tick_s=10.0)
    leased = []

    def lease_what_fails(*_, **_known):
        at = made.clock.at
        sent = replace(made.store.leases("d")[1], lease_id=f"l-{len(leased)}", created_at=at, sent_at=at)
        made.store.add_lease(
            replace(sent, state=LeaseState.GONE, ended_at=at + 5, reason="CUDA could not be initialized")
        )
        leased.append(at)
        return SimpleNamespace(poll=lambda: 0)

    monkeypatch.setattr(act.subprocess, "Popen", lease_what_fails)
    await made.run(2 * HOURS)
    del made.cloud.machines["m-i1"]
    await made.until(lambda: leased, within_s=SELDOM_S + SETTLE_S + 60)
    for _ in range(12):
        made.again()
        await made.run(600)
    assert len(leased) == 7, "twice at once, then 2, 4, 8, 16 and 32 minutes after one another"
    assert any("i1 failed 7 times in a row (CUDA could not be initialized)" in text for text in made.alerts)


def failed_just_now(made, instance, times):
    """It was leased so often, and each time its machine was of no use."""
    at = made.clock.at
    for number in range(times):
        name = f"{instance}-{number}"
        known = replace(made.store.leases("d")[0], instance=instance, lease_id=name, provider_id=name, label=name)
        gone = replace(known, created_at=at, sent_at=at, state=LeaseState.GONE, ended_at=at)
        made.store.add_lease(replace(gone, reason="CUDA could not be initialized"))


async def test_one_that_waits_after_failures_is_not_tried_when_another_is_lost(world):
    Ups.commands.clear()
    made = world(lease_h=48.0, tick_s=10.0)
    await made.run(120)
    del made.cloud.machines["m-i1"]
    await made.until(lambda: made.state("i1") is LeaseState.GONE, within_s=SELDOM_S + SETTLE_S + 60)
    failed_just_now(made, "i1", times=6)
    Ups.commands.clear()
    del made.cloud.machines["m-i2"]
    await made.until(lambda: any("i2" in one for one in Ups.commands), within_s=SELDOM_S + SETTLE_S + 60)
    await made.run(300)
    assert not [one for one in Ups.commands if "i1" in one]
    assert any("i1 failed 7 times in a row (CUDA could not be initialized)" in text for text in made.alerts)


async def test_while_a_replacement_is_at_work_limits_of_others_are_kept_and_it_is_not_begun_again(world):
    Ups.commands.clear()
    made = world(lease_h=48.0, ends_h={"i2": 2.0}, tick_s=10.0)
    await made.run(120)
    del made.cloud.machines["m-i1"]
    made.store.replacing = f"{REPLACING}: i1"
    await made.until(lambda: made.state("i2") is LeaseState.GONE, within_s=3 * HOURS)
    assert Ups.commands == []
    assert made.events("controller.drain")


async def test_an_up_that_replaced_a_machine_and_died_is_gone_on_with_and_what_blinked_comes_back(world):
    Ups.commands.clear()
    made = world(tick_s=10.0)
    await made.run(120)
    other = replace(PLAN.instance("i1"), offer_id="another")
    instances = tuple(other if one.id == "i1" else one for one in PLAN.instances)
    made.store.known.append(replace(PLAN, plan_id="amended", amends=PLAN.plan_id, instances=instances))
    made.store.saved = replace(made.store.saved, plan_id="amended")
    await made.until(lambda: Ups.commands, within_s=30)
    assert made.events("controller.replace") == ["a machine in the place of i1: i1 was replaced and does not serve yet"]
    made.contact.deaf = {"i0"}
    await made.until(lambda: made.router.replicas == {"r2"}, within_s=60)
    made.contact.deaf = set()
    await made.until(lambda: made.router.replicas == {"r0", "r1", "r2"}, within_s=60)


async def test_an_up_that_has_ended_is_reaped_in_the_next_tick(world, monkeypatch):
    monkeypatch.setattr(act.subprocess, "Popen", Popen)
    monkeypatch.setattr(act, "COMMAND", (sys.executable, "-c", ""))
    made = world()
    made.world.spec = lambda: Spec()
    made.controller.actor._replace(["i1"], None)
    [child] = [one.pid for one in made.controller.actor._ups]
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    await made.run(2)
    assert not psutil.pid_exists(child)


async def test_when_all_leases_end_requests_under_way_go_on_until_they_have_ended(world):
    made = world(lease_h=2.0)
    made.router.requests = {"r0": 1}
    await made.until(lambda: made.router.is_closed, within_s=2 * HOURS)
    await made.run(60)
    assert made.router.is_running
    assert "m-i0" in made.cloud.machines
    made.router.requests = {}
    await made.until(lambda: not made.router.is_running, within_s=10)
    assert not made.cloud.machines


async def test_a_router_that_can_not_be_told_to_close_is_stopped_when_time_is_up(world):
    made = world(lease_h=2.0)
    end = made.clock.at + 2 * HOURS
    made.router.refuses = True
    await made.until(lambda: not made.router.is_running, within_s=2 * HOURS)
    assert made.clock.at <= end
    assert not made.cloud.machines


async def test_what_was_seen_while_a_command_was_at_work_was_not_absent_since(world):
    made = world()
    await made.run(300)
    lost = made.cloud.machines.pop("m-i1")
    await made.until(lambda: made.observer.listings._absences["vast"].since, within_s=SELDOM_S + 10)
    made.store.held, made.cloud.machines["m-i1"] = "up", lost
    await made.run(600)
    del made.cloud.machines["m-i1"]
    made.store.held = ""
    await made.run(30)
    made.cloud.machines["m-i1"] = lost
    await made.run(SELDOM_S + SETTLE_S)
    assert made.state("i1") is LeaseState.READY


async def test_a_machine_of_no_use_is_drained_and_released(world):
    made = world()
    await made.run(300)
    made.router.requests = {"r2": 1}
    made.cloud.machines["m-i2"] = replace(made.cloud.machines["m-i2"], problem="outbid")
    await made.until(lambda: made.state("i2") is LeaseState.DRAINING, within_s=SELDOM_S + 10)
    assert made.router.replicas == {"r0", "r1"}
    await made.run(30)
    assert made.cloud.touched == []
    made.router.requests = {}
    await made.until(lambda: made.cloud.touched == ["m-i2"], within_s=10)
    await made.until(lambda: made.state("i2") is LeaseState.GONE, within_s=SETTLE_S + 30)
    assert "outbid" in made.events("controller.drain")[0]
    assert "outbid" in made.events("lease.gone")[0]


@pytest.mark.parametrize("fault", ["failed", "truncated", "empty", "unreadable"])
async def test_a_listing_that_proves_nothing_ends_nothing_and_is_said(world, fault):
    made = world(tick_s=30.0)
    await made.run(300)
    made.cloud.list_faults.extend([fault] * 10_000)
    made.cloud.machines["m-i0"] = replace(made.cloud.machines["m-i0"], problem="outbid")
    await made.run(6 * HOURS)
    assert {made.state(name) for name in ("i0", "i1", "i2")} == {LeaseState.READY}
    assert any("vast has is not known" in text for text in made.alerts)
    assert made.cloud.touched == []
    made.cloud.list_faults.clear()
    await made.until(lambda: made.state("i0") is LeaseState.GONE, within_s=SELDOM_S + SETTLE_S + 60)
    assert not any("is not known" in text for text in made.alerts)


async def test_limits_are_kept_though_the_provider_can_not_be_listed(world):
    made = world(lease_h=2.0, tick_s=20.0)
    await made.run(300)
    made.cloud.list_faults.extend(["failed"] * 100_000)
    await made.until(lambda: not made.cloud.machines, within_s=2 * HOURS)


@pytest.mark.parametrize("faults", [["429"] * 6, ["500 before"] * 6, ["500"]])
async def test_a_release_that_is_refused_is_asked_for_until_it_is_done(world, faults):
    made = world(lease_h=2.0, tick_s=20.0)
    made.cloud.release_faults.extend(faults)
    states = ("i0", "i1", "i2")
    await made.until(lambda: all(made.state(name) is LeaseState.GONE for name in states), within_s=3 * HOURS)
    assert not made.cloud.machines
    said = [text for text in made.events("controller.release") if "did not take it" not in text]
    assert len(said) == 3, "asked again is not said again"


async def test_a_price_that_rises_is_said_and_counted(world):
    made = world()
    await made.run(300)
    made.cloud.machines["m-i0"] = replace(made.cloud.machines["m-i0"], usd_per_hour=3.5)
    await made.until(lambda: made.events("lease.price"), within_s=SELDOM_S + 10)
    assert made.events("lease.price") == ["i0 (vast m-i0, $3.5/h) cost $1/h before"]
    assert any("$5.500/h, more than its budget of $5.000/h" in text for text in made.alerts)
    assert made.events("alert") == list(made.alerts)


async def test_trouble_that_may_pass_and_prices_that_will_rise_are_said_and_nothing_is_done(world):
    made = world()
    await made.run(300)

    async def price_rises():
        return (PriceRise("m-i1", 1.0, 1.5, at=1_800_000_000.0), PriceRise("somebody else's", 1.0, 9.0))

    made.cloud.price_rises = price_rises
    made.cloud.machines["m-i0"] = replace(made.cloud.machines["m-i0"], trouble="its host is offline")
    await made.run(SELDOM_S + 10)
    assert made.alerts == (
        "i0 (vast m-i0): its host is offline.",
        "i1 (vast m-i1): its GPUs are going to cost $1.5/h, not $1/h from 2027-01-15 08:00 UTC on.",
    )
    assert made.events("controller") == []

    async def refused():
        raise ProvisioningError("403")

    made.cloud.price_rises = refused
    made.cloud.machines["m-i0"] = replace(made.cloud.machines["m-i0"], trouble="")
    await made.run(SELDOM_S + 10)
    assert [text[:2] for text in made.alerts] == ["i1"], (
        "what was announced stands, and the listing counts all the same"
    )


async def test_machines_that_can_be_taken_back_are_looked_at_more_often(world, monkeypatch):
    instances = tuple(replace(one, interruptible=True) for one in worlds.PLAN.instances)
    monkeypatch.setattr(worlds, "PLAN", replace(worlds.PLAN, instances=instances))
    made = world(tick_s=5.0)
    await made.run(3600)
    assert 3600 / WATCHFUL_S - 5 <= made.cloud.listings <= 3600 / WATCHFUL_S + 10


async def test_a_router_that_died_is_started_again_with_the_same_replicas(world):
    made = world()
    await made.run(60)
    made.router.is_running = False
    await made.until(lambda: made.router.is_running, within_s=2.0)
    assert made.router.replicas == {"r0", "r1", "r2"}
    assert made.events("controller.route")[0] == "requests to r0, r1, r2: no router was running"


async def test_a_router_elsewhere_whose_link_died_is_linked_again(world):
    made = world()
    await made.run(60)
    made.router.is_running, made.router.is_unlinked = False, True
    await made.until(lambda: made.router.is_running, within_s=2.0)
    assert made.router.replicas == {"r0", "r1", "r2"}


async def test_machines_under_a_router_that_no_link_leads_to_are_released_at_the_deadline_alone(world):
    made = world(lease_h=1.0)
    await made.run(60)
    made.router.is_running, made.router.is_unlinked, made.router.refuses = False, True, True
    await made.until(lambda: made.state("i0") is LeaseState.DRAINING, within_s=3600.0)
    assert any("No link leads to the router" in text for text in made.alerts)
    waited_s = await made.until(lambda: made.state("i0") is not LeaseState.DRAINING, within_s=3600.0)
    assert waited_s >= DRAIN_DEADLINE_S - 2.0


async def test_a_router_that_can_not_be_told_is_told_again_later_and_it_is_said_once(world):
    made = world()
    await made.run(60)
    made.contact.failed, made.router.refuses = {"r0"}, True
    await made.run(20)
    assert made.router.replicas == {"r0", "r1", "r2"}
    assert len(made.events("controller.route")) == 2
    assert "connection refused" in made.events("controller.route.failed")[0]
    assert any("requests to r1, r2. The router can't be reached" in text for text in made.alerts)
    assert sum("Not done yet" in text for text in made.events("alert")) == 1
    made.router.refuses = False
    await made.until(lambda: made.router.replicas == {"r1", "r2"}, within_s=61)
    await made.run(2)
    assert not any("Not done yet" in text for text in made.alerts)


async def test_a_router_that_does_not_answer_keeps_its_routes_and_is_said(world):
    made = world()
    await made.run(60)
    asked, observed, before = made.contact.asked, made.router.observed, made.router.in_force

    async def silent():
        raise HostError("The router can't be reached: no answer in time.")

    made.router.observed = silent
    await made.run(600)
    assert made.contact.asked >= asked + 290
    assert made.router.in_force == before
    assert [text for text in made.alerts if "The router runs and does not answer" in text]
    made.contact.failed = {"r0"}
    await made.until(lambda: made.router.replicas == {"r1", "r2"}, within_s=3.0)  # it may hear though it says nothing
    made.router.observed = observed
    made.contact.failed = set()
    await made.run(20)
    assert made.alerts == ()


async def test_while_a_command_holds_the_lock_agents_are_spoken_to_and_nothing_is_done(world):
    made = world()
    await made.run(60)
    asked, listings = made.contact.asked, made.cloud.listings
    made.store.held, made.contact.deaf = "up", {"i0"}
    await made.run(600)
    assert made.router.served == []
    assert made.contact.asked >= asked + 290
    assert made.cloud.listings > listings, "where machines are is asked all the same"
    made.store.held = ""
    await made.until(lambda: made.router.replicas == {"r2"}, within_s=3.0)


async def test_a_machine_that_an_up_made_ready_for_long_is_kept_for_the_next_up_as_long_as_any(world):
    made = world()
    ready = next(one for one in made.store.leases() if one.instance == "i1")
    made.store._rows[ready.lease_id] = replace(ready, state=LeaseState.CREATED)
    made.store.held = "up"
    await made.run(3000)
    made.store.held = ""  # it was killed
    await made.run(1190)
    assert made.state("i1") is LeaseState.CREATED
    await made.until(lambda: made.state("i1") is LeaseState.GONE, within_s=400)
    assert any("it was not ready within 1200 s" in text for text in made.events())


async def test_a_store_that_is_gone_for_an_hour_costs_no_contact_and_is_said(world):
    made = world(tick_s=10.0)
    await made.run(60)
    asked = made.contact.asked
    made.store.down = "disk I/O error"
    await made.run(1 * HOURS)
    assert made.contact.asked >= asked + 350
    assert any("disk I/O error" in text for text in made.alerts)
    made.store.down = ""
    await made.run(30)
    assert made.alerts == ()
    assert {made.state(name) for name in ("i0", "i1", "i2")} == {LeaseState.READY}


async def test_a_bug_in_a_tick_does_not_end_the_contact(world):
    made = world()
    await made.run(10)
    asked = made.contact.asked
    made.router.observed = None  # not callable
    await made.run(60)
    assert made.contact.asked >= asked + 25
    assert any("A bug in the controller" in text for text in made.alerts)


@pytest.mark.parametrize("hours", [24, -24])
async def test_a_clock_that_is_set_ends_no_lease_and_makes_none_longer(world, hours):
    made = world(lease_h=12.0)
    await made.run(300)
    made.skew_s = hours * HOURS
    await made.run(HELD_S - 60)
    assert made.events() == []
    assert any(f"clock was set by {hours * 3600:+.0f} s" in text for text in made.alerts)
    made.contact.deaf = {"i0"}
    await made.until(lambda: made.router.replicas == {"r2"}, within_s=3.0)
    made.contact.deaf = set()
    await made.until(lambda: made.router.replicas == {"r0", "r1", "r2"}, within_s=10.0)
    made.skew_s = 0.0
    await made.run(HELD_S)
    assert {made.state(name) for name in ("i0", "i1", "i2")} == {LeaseState.READY}
    assert made.alerts == ()


@pytest.mark.parametrize("label", ["K1", "K2", "C6", "C6-after", "C7"])
async def test_killed_in_the_midst_another_one_goes_on(world, label):
    made = world(lease_h=2.5, ends_h={"i1": 1.5}, tick_s=20.0)
    crash = patch.dict(os.environ, {"THUNDER_CRASH_AT": label})
    with crash, patch("provisioners.crash.die", die), pytest.raises(Killed):
        await made.run(3 * HOURS)
    made.again()
    states = ("i0", "i1", "i2")
    await made.until(lambda: all(made.state(name) is LeaseState.GONE for name in states), within_s=3 * HOURS)
    assert not made.cloud.machines
    assert not made.router.is_running


async def test_a_controller_that_begins_anew_changes_nothing_where_all_is_well(world):
    made = world()
    await made.run(300)
    for _ in range(3):
        made.again()
        await made.run(60)
    assert made.router.served == []
    assert made.events() == []


async def test_a_controller_that_begins_anew_alarms_nobody_before_agents_had_time_to_be_found(world):
    made = world()
    await made.run(60)
    made.contact.sought = {"i0", "i1", "i2"}
    made.again()
    await made.run(30)
    assert (made.alerts, made.events(), made.router.served) == ((), [], [])
    made.contact.sought, made.contact.deaf = set(), {"i0"}
    await made.until(lambda: made.events("alert"), within_s=20)
    assert [text.split(" can't serve")[0] for text in made.events("alert")] == ["r0, r1"]


async def test_what_moved_between_machines_is_written_down(world):
    made = world()
    await made.run(61)
    ways = {(one.source, one.target) for one in made.store.readings}
    assert len(ways) == 9 - 3 or ("l-i0", "l-i1") in ways
    assert {one.bytes for one in made.store.readings} == {10**9}


async def test_with_nothing_leased_it_ends_after_a_while(world):
    made = world(leased=())
    begun = made.clock.at
    made.controller.sleep = made.clock.sleep
    await made.controller.run()
    assert IDLE_S <= made.clock.at - begun <= IDLE_S + 10


async def test_a_deployment_that_is_gone_ends_it(world):
    made = world()
    await made.run(10)
    folder = made.world.controller.folder
    folder.rmdir()
    made.controller.sleep = made.clock.sleep
    await made.controller.run()


async def hangs(*_):
    await asyncio.Event().wait()


@pytest.mark.parametrize("call", ["observe", "release"])
async def test_a_provider_that_hangs_holds_up_neither_contact_nor_routes(world, call):
    made = world()
    await made.run(200)
    setattr(made.cloud, call, hangs)
    if call == "release":
        machine = Machine("m-old", str(Label(OWNER, "d", "old")), "running", 1.0, created_at=made.clock.at - HOURS)
        made.cloud.machines["m-old"] = machine
        made.store.add_lease(condemned(machine, "vast", made.store.leases(), made.clock.at))
    await made.run(130)  # a listing is due in that time
    asked = made.contact.asked
    await made.run(60)
    assert made.contact.asked - asked >= 29
    made.contact.deaf = {"i0"}
    assert await made.until(lambda: "r0" not in made.router.replicas, within_s=10) <= 3.0
    assert made.state("i0") is LeaseState.READY


async def test_what_hangs_at_a_provider_ends_with_the_controller_and_gives_the_lock_back(world, monkeypatch):
    made = world()
    taken = []
    lock = made.store.lock

    @contextmanager
    def counted(*given, **known):
        taken.append(1)
        with lock(*given, **known) as held:
            yield held
        taken.pop()

    monkeypatch.setattr(made.store, "lock", counted)
    made.cloud.observe = hangs
    await made.run(10)
    assert taken == []


async def test_a_router_that_takes_long_to_stop_keeps_no_agent_waiting(world):
    made = world(tick_s=0.01)
    await made.run(1)
    stopped = asyncio.Event()
    made.router.stop = stopped.wait
    asked = made.contact.asked
    with made.controller._errands.lock():
        stopping = asyncio.ensure_future(made.controller._in_contact(made.router.stop()))
        while made.contact.asked < asked + 3:
            await asyncio.sleep(0.01)
        stopped.set()
        await stopping


class Renewals:
    """A lock of which is counted how often its end was put off; `lost` once another host has it."""

    def __init__(self):
        self.count, self.lost = 0, False

    def _renew(self, _holder):
        self.count += 1
        if self.lost:
            raise Refused("The lock of deployment d was taken over.")

    @contextmanager
    def lock(self, *_, **_known):
        yield Held(self, Holder("d", "me", "here", 1, 0.0, "at work", 0.0, 0.006))


async def test_while_a_router_starts_elsewhere_for_long_the_lock_is_renewed(world):
    made, locks, served = world(), Renewals(), FakeRouter.serve
    made.store.lock = locks.lock

    async def serve_late(routes, serving):
        async with asyncio.timeout(5.0):
            while locks.count < 10:
                await asyncio.sleep(0.001)
        await served(made.router, routes, serving)

    made.router.serve, made.router.is_running = serve_late, False
    await made.until(lambda: made.router.is_running, within_s=60)
    assert made.router.replicas == {"r0", "r1", "r2"}


async def test_a_router_that_starts_under_a_lock_that_was_taken_over_is_given_up(world):
    made, locks = world(), Renewals()
    made.store.lock, given_up = locks.lock, []

    async def serve_for_ever(_routes, _serving):
        locks.lost = True
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            given_up.append(1)
            raise

    made.router.serve, made.router.is_running = serve_for_ever, False
    await made.until(lambda: given_up, within_s=60)
    assert made.store.deployment("d").epoch == 2
    assert not made.router.is_running


async def test_a_fleet_that_ended_itself_as_a_whole_is_gone_and_not_an_empty_listing(world):
    made = world(tick_s=10.0)
    await made.run(300)
    ended = frozenset(made.cloud.machines)
    made.cloud.machines.clear()

    async def observe():
        return Listing(True, ended=ended)

    made.cloud.observe = observe
    await made.until(lambda: made.state("i0") is LeaseState.GONE, within_s=300)
    assert {made.state(name) for name in ("i1", "i2")} == {LeaseState.GONE}


def take_all_back(made, *, said: bool) -> None:
    """The provider ends every machine at once, and calls them terminated for a while, or lists nothing at all."""
    ended = frozenset(made.cloud.machines) if said else frozenset()
    made.cloud.machines.clear()

    async def observe():
        return Listing(True, ended=ended)

    made.cloud.observe = observe


async def test_a_fleet_that_is_taken_back_as_a_whole_is_leased_anew_by_one_up_for_as_long_as_it_was_to_last(world):
    Ups.commands.clear()
    made = world(lease_h=48.0, tick_s=10.0)
    await made.run(300)
    ends_at = min(one.expires_at for one in made.store.leases("d"))
    take_all_back(made, said=True)
    await made.until(lambda: Ups.commands, within_s=SELDOM_S + 60)
    named = ["--only", "i0", "--only", "i1", "--only", "i2"]
    assert Ups.commands[0][-10:] == ["up", "--yes", "--replacing", *named, "--until", f"{ends_at:.0f}"][-10:]
    assert any("No machine is left: i0, i1, i2. Others are leased" in text for text in made.alerts)
    await made.run(IDLE_S + HOURS)
    assert len(Ups.commands) == 6, "each found nothing: it goes on, 2, 4, 8, 16 and 32 minutes after one another"


async def test_an_empty_listing_leases_no_fleet_anew_and_is_said(world):
    Ups.commands.clear()
    made = world(tick_s=10.0)
    await made.run(300)
    take_all_back(made, said=False)
    await made.run(2 * HOURS)
    assert Ups.commands == []
    assert {made.state(name) for name in ("i0", "i1", "i2")} == {LeaseState.READY}
    assert any("the listing is empty while 3 leases run" in text for text in made.alerts)


async def test_a_fleet_that_ended_itself_as_nobody_spoke_to_it_waits_for_up(world):
    """A laptop that was closed for a day leases nothing when it is opened, nor when its controller begins anew."""
    Ups.commands.clear()
    made = world(lease_h=48.0, tick_s=10.0)
    await made.run(300)
    take_all_back(made, said=True)
    made.clock.at += 24 * HOURS
    await made.until(lambda: made.state("i0") is LeaseState.GONE, within_s=300)
    for _ in range(3):
        await made.run(300)
        assert Ups.commands == []
        assert any("may have ended themselves: `thunderctl up` leases them again" in text for text in made.alerts)
        made.again()


async def test_a_fleet_that_ended_with_its_money_is_not_leased_anew(world):
    Ups.commands.clear()
    made = world(lease_h=48.0, tick_s=10.0, spec=Spec.model_validate({"budget": {"max_total_usd": 30.0}}))
    await made.until(lambda: made.state("i0") is LeaseState.GONE, within_s=11 * HOURS)
    await made.run(300)
    assert Ups.commands == []
    assert any("may still be spent would last no hour" in text for text in made.alerts)
