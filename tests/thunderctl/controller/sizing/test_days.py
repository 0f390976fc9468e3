"""The controller, its store and its search over nights, price rises and lulls, in a world without processes."""

import json
from dataclasses import replace

import pytest

from provisioners.base import Machine
from provisioners.leases.journal import LeaseState
from tests.thunderctl.controller.worlds import HOURS, ControllerWorld
from thunderctl.controller import act
from thunderctl.fleet.resting import RestCause, Resting
from thunderctl.spec.spec import Spec

BEGINS_S = 3600.0
"""From the world's first moment until its night, which lasts two hours."""


class Up:
    """An `up` that leases at once what is missing and does not rest."""

    def __init__(self) -> None:
        self.commands = []
        self.world = None

    def __call__(self, command, **_):
        self.commands.append(command)
        made = self.world
        resting = Resting.from_json(made.store.saved.resting)
        costing = {one.instance for one in made.store.leases("d") if one.state.may_cost}
        for one in ("i0", "i1", "i2"):
            if one not in costing and one not in resting.instances:
                made.rent_again(one)
        return self

    def poll(self):
        return 0


class Fleet(ControllerWorld):
    def rent_again(self, instance):
        """Another lease of the instance, whose machine and engines are there."""
        number = sum(one.instance == instance for one in self.store.leases("d"))
        old = next(one for one in self.store.leases("d") if one.instance == instance)
        name = f"l-{instance}-{number}"
        label = old.label.replace(old.lease_id, name)
        made = replace(
            old,
            lease_id=name,
            label=label,
            provider_id=f"m-{instance}-{number}",
            state=LeaseState.READY,
            created_at=self.clock.at,
            sent_at=self.clock.at,
            ended_at=None,
            reason="",
            attempts=0,
            drained_for=None,
            live_usd_per_hour=None,
            prices=(),
        )
        self.store.add_lease(made)
        self.cloud.machines[made.provider_id] = Machine(
            made.provider_id, label, "running", 1.0, "10.0.0.1", self.clock.at
        )


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    up = Up()
    monkeypatch.setattr(act.subprocess, "Popen", up)

    def made(**known):
        up.world = Fleet(tmp_path / "controller", **{"tick_s": 30.0, "lease_h": 200.0, **known})
        up.world.ups = up.commands
        return up.world

    return made


def clock(at):
    return f"{int(at // 3600) % 24:02}:{int(at // 60) % 60:02}"


def with_night(world, usd_per_hour):
    """From an hour on the budget is this much, for two hours."""
    begins = (world.clock.at + BEGINS_S) // 60 * 60
    window = {"from": clock(begins), "to": clock(begins + 2 * HOURS), "tz": "UTC", "usd_per_hour": usd_per_hour}
    world.spec = Spec.model_validate({"budget": {"windows": [window]}})
    world.store.saved = replace(world.store.saved, spec=json.loads(world.spec.model_dump_json(exclude_unset=True)))
    return begins


def awake(world):
    return {one.instance for one in world.store.leases("d") if one.state is LeaseState.READY}


async def test_a_night_makes_the_fleet_smaller_by_its_beginning_and_the_morning_larger(fleet):
    made = fleet()
    begins = with_night(made, 1.5)
    made.router.requests = {"r2": 1}
    await made.until(lambda: made.events("controller.resize"), within_s=BEGINS_S)
    assert made.clock.at < begins
    assert (
        "i1, i2 is to rest: the fleet costs $3.000/h and the budget is soon $1.500/h"
        in (made.events("controller.resize")[0])
    )
    await made.until(lambda: made.router.replicas == {"r0", "r1"}, within_s=60)
    assert {"m-i1", "m-i2"} <= made.cloud.machines.keys(), "a request is under way"
    await made.until(lambda: set(made.cloud.machines) == {"m-i0"}, within_s=200)
    await made.until(lambda: made.clock.at >= begins, within_s=600)
    assert [one.instance for one in made.store.leases("d") if one.state.may_cost] == ["i0"]
    assert made.alerts == ()
    made.again()  # another controller knows as well
    await made.until(lambda: made.clock.at >= begins + 2 * HOURS, within_s=3 * HOURS)
    assert made.ups == []
    assert awake(made) == {"i0"}
    made.router.requests = {}
    await made.until(lambda: made.router.replicas == {"r0", "r1", "r2"}, within_s=300)
    assert len(made.ups) == 1
    assert awake(made) == {"i0", "i1", "i2"}
    await made.run(HOURS / 2)
    assert len(made.ups) == 1
    assert not Resting.from_json(made.store.saved.resting).instances
    assert made.alerts == ()


@pytest.mark.parametrize("point", ["K3", "K1"])
async def test_a_controller_that_dies_half_way_is_gone_on_with(fleet, point, monkeypatch):
    class Killed(BaseException):
        pass

    def die():
        raise Killed

    made = fleet()
    begins = with_night(made, 1.5)
    monkeypatch.setenv("THUNDER_CRASH_AT", point)
    monkeypatch.setattr("provisioners.crash.die", die)
    with pytest.raises(Killed):
        await made.until(lambda: made.clock.at >= begins, within_s=2 * HOURS)
    monkeypatch.delenv("THUNDER_CRASH_AT")
    made.again()
    await made.until(lambda: set(made.cloud.machines) == {"m-i0"}, within_s=600)
    assert made.router.replicas == {"r0", "r1"}


async def test_prices_that_rise_past_the_budget_are_answered_and_announced(fleet):
    made = fleet()
    await made.run(60)
    for name in ("m-i1", "m-i2"):
        made.cloud.machines[name] = replace(made.cloud.machines[name], usd_per_hour=2.5)
    await made.until(lambda: made.events("controller.resize"), within_s=1200)
    rested = made.events("lease.price")
    assert rested
    await made.until(lambda: set(made.cloud.machines) == {"m-i0"}, within_s=600)
    assert {one.cause for one in Resting.from_json(made.store.saved.resting).instances.values()} == {RestCause.PRICE}
    assert any("i1 is let go: the fleet costs $6.000/h and the budget is $5.000/h" in text for text in made.alerts)
    await made.run(HOURS / 4)
    assert made.ups == []


async def test_a_lull_releases_what_nobody_needs_and_requests_bring_it_back(fleet):
    spec = Spec.model_validate({"controller": {"scale": "down-and-up"}})
    made = fleet(spec=spec)
    load = {"rate_rps": 0.1, "window_s": 300.0}

    async def observed(real=made.router.observed):
        return {**await real(), **load}

    made.router.observed = observed
    took = await made.until(lambda: made.events("controller.resize"), within_s=3 * HOURS)
    assert took >= 1800
    await made.until(lambda: len(made.cloud.machines) < 3, within_s=300)
    few = awake(made)
    await made.run(HOURS / 2)
    assert awake(made) == few
    load["rate_rps"] = 2.9
    await made.until(lambda: awake(made) == {"i0", "i1", "i2"}, within_s=300)
    assert len(made.ups) == 1
    await made.run(900)
    assert made.router.replicas == {"r0", "r1", "r2"}
    assert len(made.ups) == 1
