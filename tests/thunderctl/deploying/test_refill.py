"""What is lost is replaced while all else goes on: others act between its changes; in virtual time."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from planner.deployment import Codec, Phase, Plan, Route
from planner.document import plan_from_json, plan_to_json
from planner.errors import Refused
from planner.reconcile import StepKind
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.observe import Absences, look
from provisioners.leases.release import ask_release
from runtime.messages import ReplicaAddress, Routes
from tests.thunderctl.acted_machines import stubbed
from tests.thunderctl.rented_world import NAME, Durations, RentedWorld, cards, rented_world
from thunderctl.controller.errands import AT_WORK
from thunderctl.deploying import refill
from thunderctl.deploying.apply import StepState
from thunderctl.deploying.deploy import pace_of
from thunderctl.deploying.taking_down import take_down
from thunderctl.fleet.resting import Rest, RestCause, Resting
from thunderctl.home import owner_id
from thunderctl.processes.router_process import RouterProcess
from thunderctl.spec.spec import Spec
from thunderctl.store.locks import BRIEF_S
from thunderctl.store.values import DeploymentState

LOOK_S, PROVEN_S = 30.0, 180.0


@pytest.fixture
def fleet(tmp_path):
    """Four machines that serve, of nine that are sold at rising prices; each takes minutes to boot and to prepare."""
    bundles = [ask | {"dph_base": 0.4 + ask["id"] / 100} for ask in cards(9)]
    with rented_world(tmp_path, bundles, Durations(20.0, 5.0, 20.0, 10.0)) as made:
        assert made.run(made.up(made.run(made.plan(4, slack=2.0)))).error is None
        serving = replace(made.store.deployment(NAME), state=DeploymentState.SERVING)
        made.store.save_deployment(serving)
        made.routed.clear()
        made.durations, made.market.boot_s = Durations(boot_s=600.0), 600.0
        yield made


def of(world: RentedWorld, instance: str) -> LeaseRow:
    """Its last lease."""
    return [row for row in world.store.leases(NAME) if row.instance == instance][-1]


def lose(world: RentedWorld, *instances: str) -> None:
    """They are gone, and that is proven."""
    for name in instances:
        row = of(world, name)
        del world.market.contracts[int(row.provider_id)]
        world.store.update_lease(row.moved(LeaseState.GONE, reason="outbid", ended_at=time.time()), was=row.state)


@contextmanager
def locked(world: RentedWorld) -> Iterator[None]:
    """The deployment's lock, which is free."""
    with world.store.lock(NAME, AT_WORK, lasts_s=BRIEF_S, waits=False):
        yield


async def looks(world: RentedWorld) -> None:
    """What the controller does beside: it proves what is gone, and finds what became of creates."""
    absences, pace = Absences(90.0), pace_of(Spec())
    while True:
        with suppress(Refused), locked(world):
            seller = world.provisioner()
            await look(world.store, seller, absences, owner_id=owner_id(), deployment=NAME, pace=pace)
        await asyncio.sleep(LOOK_S)


def beside(world: RentedWorld, *work: Coroutine[Any, Any, Any]) -> list[Any]:
    """All at once, under the eyes of the controller."""

    async def together() -> list[Any]:
        looking = asyncio.create_task(looks(world))
        try:
            found = await asyncio.gather(*work, return_exceptions=True)
            await asyncio.sleep(PROVEN_S)
            return found
        finally:
            looking.cancel()

    budget_usd_per_hour = world.store.deployment(NAME).budget_usd_per_hour
    with stubbed(world):
        found = world.run(together())
    assert world.billed() == world.costing()
    assert world.most_usd_per_hour <= budget_usd_per_hour
    return found


async def after(seconds: float, what: Callable[[], Coroutine[Any, Any, Any] | None]) -> None:
    await asyncio.sleep(seconds)
    if (work := what()) is not None:
        await work


def replicas(plan: Plan) -> set[str]:
    return {one.id for one in plan.replicas}


def wanted(world: RentedWorld) -> Plan:
    return plan_from_json(world.store.plan(world.store.deployment(NAME).plan_id, NAME).document)


def failed(results) -> dict[StepKind, str]:
    return {one.step.what: str(one.error) for one in results if one.state is StepState.FAILED}


def test_only_what_it_is_for_is_leased_though_another_one_is_missing_too(fleet):
    lose(fleet, "i0", "i1")
    [results] = beside(fleet, fleet.refill("i1"))
    assert {one.state for one in results} == {StepState.DONE}
    assert {one.step.id for one in results if one.step.what is StepKind.LEASE} == {"i1"}
    assert of(fleet, "i0").state is LeaseState.GONE
    assert of(fleet, "i1").state is LeaseState.READY
    assert replicas(fleet.routed[-1]) == {"r1", "r2", "r3"}


def test_a_controller_of_an_earlier_version_that_names_none_means_all_that_have_no_machine(fleet):
    world = SimpleNamespace(store=fleet.store, name=NAME)
    assert refill.absent(world, wanted(fleet)) == ()
    lose(fleet, "i0", "i1")
    assert refill.absent(world, wanted(fleet)) == ("i0", "i1")


def test_a_notice_for_another_machine_is_carried_out_while_it_boots(fleet):
    lose(fleet, "i0", "i1")
    seen = []

    async def notice() -> None:
        with locked(fleet):
            row = of(fleet, "i2")
            fleet.store.update_lease(row.moved(LeaseState.DRAINING, reason="spot notice"), was=row.state)
            await ask_release(fleet.store, fleet.provisioner(), [row.lease_id], deployment=NAME, reason="spot notice")
        seen.append(of(fleet, "i1").state)

    async def proven() -> None:
        seen.append((of(fleet, "i2").state, of(fleet, "i1").state))

    [results, *_] = beside(fleet, fleet.refill("i1"), after(60, notice), after(300, proven))
    assert seen == [LeaseState.CREATED, (LeaseState.GONE, LeaseState.CREATED)]
    assert not failed(results)
    assert {one.id: of(fleet, one.id).state for one in fleet.routed[-1].instances if of(fleet, one.id).state.runs} == {
        "i1": LeaseState.READY,
        "i3": LeaseState.READY,
    }
    assert replicas(fleet.routed[-1]) == {"r1", "r3"}


@pytest.mark.parametrize("seconds", [30, 700, 1020])
def test_a_down_that_comes_between_leaves_nothing_and_nothing_is_leased_after_it(fleet, seconds):
    lose(fleet, "i1")

    async def down() -> None:
        with locked(fleet):
            fleet.store.save_deployment(replace(fleet.store.deployment(NAME), state=DeploymentState.STOPPING))
            await take_down(fleet.world(), report=lambda _: None)

    [results, *_] = beside(fleet, fleet.refill("i1"), after(seconds, down))
    assert failed(results)
    assert fleet.billed() == set()
    assert len([row for row in fleet.store.leases(NAME) if row.instance == "i1"]) == 2, "the lost one and the new one"


def test_two_at_once_for_one_instance_make_one_machine(fleet):
    lose(fleet, "i1")
    beside(fleet, fleet.refill("i1"), fleet.refill("i1"))
    assert [row.state for row in fleet.store.leases(NAME) if row.instance == "i1"] == [
        LeaseState.GONE,
        LeaseState.READY,
    ]


def test_two_at_once_that_take_other_offers_keep_each_others(fleet):
    lose(fleet, "i0", "i1")
    fleet.unfit = {1, 2}
    found = beside(fleet, fleet.refill("i0"), fleet.refill("i1"))
    assert [failed(results) for results in found] == [{}, {}]
    plan = wanted(fleet)
    assert {of(fleet, name).offer_id for name in ("i0", "i1")} == {
        plan.instance(name).offer_id for name in ("i0", "i1")
    }
    assert replicas(fleet.routed[-1]) == {"r0", "r1", "r2", "r3"}
    assert [row.state for row in fleet.store.leases(NAME) if row.reason.startswith("driver")] == [LeaseState.GONE] * 2


def test_phases_that_are_changed_meanwhile_are_the_ones_that_are_routed(fleet):
    lose(fleet, "i1")
    plan = wanted(fleet)
    flipped = replace(plan, plan_id="flipped", replicas=(plan.replicas[0].flipped(Phase.DECODE), *plan.replicas[1:]))

    def rebalance() -> None:
        with locked(fleet):
            fleet.store.save_plan("flipped", NAME, plan_to_json(flipped))
            fleet.store.save_deployment(replace(fleet.store.deployment(NAME), plan_id="flipped"))

    [results, *_] = beside(fleet, fleet.refill("i1"), after(120, rebalance))
    assert not failed(results)
    assert fleet.routed[-1].replica("r0").phase is Phase.DECODE


def test_of_two_the_one_that_the_plan_has_not_any_more_is_left_and_the_other_serves(fleet):
    """`drain` makes the plan narrower."""
    lose(fleet, "i0", "i1")
    plan = wanted(fleet)
    narrow = replace(plan, plan_id="narrow", replicas=plan.replicas[1:], routes=plan.routes[1:])

    def drain() -> None:
        with locked(fleet):
            fleet.store.save_plan("narrow", NAME, plan_to_json(narrow))
            fleet.store.save_deployment(replace(fleet.store.deployment(NAME), plan_id="narrow"))

    [results, *_] = beside(fleet, fleet.refill("i0", "i1"), after(120, drain))
    assert list(failed(results).values()) == ["Plan narrow is wanted by now, which has i0 as another machine, or not."]
    assert replicas(fleet.routed[-1]) == {"r1", "r2", "r3"}


def test_what_is_to_rest_meanwhile_is_not_gone_on_with(fleet):
    lose(fleet, "i1")
    plan = wanted(fleet)
    at_rest = Resting({"i1": Rest(plan.instance("i1").offer_id, RestCause.WINDOW, "a smaller budget", fleet.now())})

    async def rest() -> None:
        with locked(fleet):
            fleet.store.save_deployment(replace(fleet.store.deployment(NAME), resting=at_rest.to_json()))
            lease = of(fleet, "i1").lease_id
            await ask_release(fleet.store, fleet.provisioner(), [lease], deployment=NAME, reason="it rests")

    [results, *_] = beside(fleet, fleet.refill("i1"), after(120, rest))
    assert any("is to rest by now" in why for why in failed(results).values())
    assert "i1" not in {row.instance for row in fleet.store.leases(NAME) if row.state.may_cost}


def test_no_engine_is_started_on_a_machine_that_drains_by_now(fleet):
    lose(fleet, "i1")

    def drain() -> None:
        with locked(fleet):
            row = of(fleet, "i1")
            fleet.store.update_lease(row.moved(LeaseState.DRAINING, reason="its time is up"), was=row.state)

    [results, *_] = beside(fleet, fleet.refill("i1"), after(700, drain))
    assert "is being released: its time is up" in failed(results)[StepKind.PREPARE]
    assert not fleet._engines.get(of(fleet, "i1").provider_id)


def test_nothing_is_leased_once_all_the_money_was_spent(fleet):
    lose(fleet, "i1")
    spent = {"budget": {"max_total_usd": 1e-9}}
    fleet.store.save_deployment(replace(fleet.store.deployment(NAME), spec=spent))
    [results] = beside(fleet, fleet.refill("i1"))
    assert "max_total_usd" in failed(results)[StepKind.LEASE]
    assert of(fleet, "i1").state is LeaseState.GONE


async def hold(world: RentedWorld, seconds: float) -> None:
    """Somebody has the lock for so long."""
    while True:
        try:
            with world.store.lock(NAME, "rebalance", waits=False):
                await asyncio.sleep(seconds)
                return
        except Refused:
            await asyncio.sleep(0.1)


async def behind(world: RentedWorld, seconds: float, until: float | None = None) -> Any:
    """What a replacement comes to that waits for the lock for so long."""
    holding = asyncio.create_task(hold(world, seconds))
    await asyncio.sleep(1)
    found = await world.refill("i1", until=until)
    await holding
    return found


def test_one_that_waited_for_the_lock_leases_up_to_the_same_end(fleet):
    lose(fleet, "i1")
    until = fleet.now() + 4 * 3600
    [results] = beside(fleet, behind(fleet, 3600.0, until))
    assert not failed(results)
    assert of(fleet, "i1").expires_at == until
    assert results[0].seconds > 3500


def test_nothing_is_leased_by_one_that_waited_until_the_end_was_near(fleet):
    lose(fleet, "i1")
    with patch.object(refill, "time", SimpleNamespace(time=fleet.now)):
        [results] = beside(fleet, behind(fleet, 3600.0, fleet.now() + 2 * 3600 - 60))
    assert "Leases are to end within 1 h" in failed(results)[StepKind.LEASE]
    assert of(fleet, "i1").state is LeaseState.GONE


def test_money_that_is_limited_further_while_one_waits_is_what_it_goes_by(fleet):
    lose(fleet, "i1")

    def limit() -> None:
        smaller = replace(fleet.store.deployment(NAME), spec={"budget": {"max_total_usd": 1e-9}})
        fleet.store.save_deployment(smaller)

    [results, _] = beside(fleet, behind(fleet, 600.0), after(300, limit))
    assert "max_total_usd" in failed(results)[StepKind.LEASE]
    assert of(fleet, "i1").state is LeaseState.GONE


def test_all_that_was_lost_at_once_comes_back_and_serves(fleet):
    lose(fleet, "i0", "i1", "i2", "i3")
    until = fleet.now() + 4 * 3600
    [results] = beside(fleet, fleet.refill("i0", "i1", "i2", "i3", until=until))
    assert not failed(results)
    assert {of(fleet, name).expires_at for name in ("i0", "i1", "i2", "i3")} == {until}
    assert replicas(fleet.routed[-1]) == {"r0", "r1", "r2", "r3"}


def test_a_machine_of_no_use_is_kept_where_an_up_has_just_made_it_serve(fleet):
    lose(fleet, "i1")
    fleet.unfit = {1, 2}
    one = ReplicaAddress("r1", Phase.MIXED, "https://i1/r/r1")
    routes = Routes(2, "llama", (one,), (Route("r1", "r1", 1.0, Codec.LOCAL),), wanted(fleet).plan_id)
    with patch.object(RouterProcess, "may_run", new=True), patch.object(RouterProcess, "routes", lambda _: routes):
        [results] = beside(fleet, fleet.refill("i1"))
    assert "serves by now: it is kept" in failed(results)[StepKind.PREPARE]
    assert of(fleet, "i1").state.runs
    assert of(fleet, "i1").provider_id in {str(one) for one in fleet.market.contracts}


@pytest.mark.parametrize("fault", ["dropped after", "dropped before", "504 after"])
def test_a_create_whose_answer_was_lost_is_found_by_the_controllers_looks(fleet, fault):
    lose(fleet, "i1")
    fleet.market.spoil("create", fault)
    [results] = beside(fleet, fleet.refill("i1"))
    assert not failed(results)
    assert [row.state for row in fleet.store.leases(NAME) if row.instance == "i1" and row.state.may_cost] == [
        LeaseState.READY
    ]


class Killed(BaseException):
    """The process died here."""


@pytest.mark.parametrize("label", ["R1", "R2", "R3", "R4"])
def test_one_that_died_is_gone_on_with_by_the_next_and_nothing_is_leased_twice(fleet, label):
    lose(fleet, "i1")

    def die(at: str) -> None:
        if at == label:
            raise Killed

    with patch.object(refill, "crash_point", die):
        [dead] = beside(fleet, fleet.refill("i1"))
    assert isinstance(dead, BaseException)
    [results] = beside(fleet, fleet.refill("i1"))
    assert not failed(results)
    assert [row.state for row in fleet.store.leases(NAME) if row.instance == "i1"] == [
        LeaseState.GONE,
        LeaseState.READY,
    ]
    assert replicas(fleet.routed[-1]) == {"r0", "r1", "r2", "r3"}


def test_an_instance_that_the_plan_has_not_is_named(fleet):
    [refusal] = beside(fleet, fleet.refill("i9"))
    assert isinstance(refusal, Refused)
    assert "has no instance i9" in str(refusal)
