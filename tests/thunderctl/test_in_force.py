"""Which plan is in force since when is written down as it comes about, and only then."""

import asyncio
import os
from unittest.mock import patch

import pytest

from planner.deployment import Codec, Phase
from planner.errors import ThunderError
from runtime.messages import ReplicaAddress, RouteShare
from thunderctl.controller.witness import keep_witness, witness
from thunderctl.deploying import routing
from thunderctl.history import IN_FORCE
from thunderctl.processes.router_process import RouterProcess
from thunderctl.spec.sections import ServeSection
from thunderctl.store.store import Store
from thunderctl.world import World

REPLICAS = [ReplicaAddress("r0", Phase.MIXED, "http://127.0.0.1:1")]
SHARES = [RouteShare("r0", "r0", 1.0, Codec.LOCAL)]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Its router takes whatever routes it is told, and remembers them."""
    told = []

    async def serve(_, routes, __):
        told.append(routes)

    monkeypatch.setattr(RouterProcess, "serve", serve)
    monkeypatch.setattr(RouterProcess, "routes", lambda _: told[-1] if told else None)
    monkeypatch.setattr(RouterProcess, "running", lambda _: {"pid": 1} if told else None)
    monkeypatch.setattr(World, "router_tls", lambda _: None)
    with Store(f"sqlite:///{tmp_path}/store.db") as store:
        yield World("d", store, tmp_path / "d")


async def push(world, plan_id):
    return await routing._push(world, REPLICAS, SHARES, "m", ServeSection(), plan_id=plan_id)


async def test_a_plan_that_comes_into_force_is_an_event_and_other_routes_of_it_are_not(world):
    for plan_id in ("first", "first", "second", "first"):
        await push(world, plan_id)
    events = [event for event in world.store.events("d") if event.kind == IN_FORCE]
    assert [(event.detail["plan_id"], event.detail["before"], event.detail["epoch"]) for event in events] == [
        ("first", "", 1),
        ("second", "first", 3),
        ("first", "second", 4),
    ]
    assert events[1].message == "plan second is in force (epoch 3), in place of first"


async def test_routes_of_nobodys_plan_are_none(world):
    await push(world, "")
    assert world.store.events("d") == ()


def in_force(world):
    return [(one.detail["plan_id"], one.detail["before"]) for one in world.store.events("d") if one.kind == IN_FORCE]


async def killed_on_the_way(world, plan_id):
    """Whoever puts this plan in force is killed when the router has its routes."""

    def die():
        raise Killed

    crash = patch.dict(os.environ, {"THUNDER_CRASH_AT": "K6"})
    with crash, patch("provisioners.crash.die", die), pytest.raises(Killed):
        await push(world, plan_id)


class Killed(BaseException):
    """What the process would be."""


async def test_what_was_not_written_down_for_a_kill_is_found_out_and_once(world):
    await killed_on_the_way(world, "first")
    assert in_force(world) == []
    assert witness(world)
    assert not witness(world)
    await push(world, "second")
    await killed_on_the_way(world, "first")
    assert witness(world)
    assert not witness(world)
    await push(world, "third")
    assert not witness(world)
    assert in_force(world) == [("first", ""), ("second", "first"), ("first", "second"), ("third", "first")]


async def test_while_somebody_changes_the_deployment_it_is_theirs_to_write_down(world):
    await killed_on_the_way(world, "first")
    with world.store.lock("d", "up"):
        assert not witness(world)
    assert in_force(world) == []
    assert witness(world)


async def test_routes_that_nobody_serves_by_are_in_force_nowhere(world, monkeypatch):
    await killed_on_the_way(world, "first")
    monkeypatch.setattr(RouterProcess, "running", lambda _: None)
    assert not witness(world)
    assert in_force(world) == []


async def test_it_is_looked_at_again_and_again_whatever_fails(world, monkeypatch):
    await killed_on_the_way(world, "first")
    holder, failures = world.store.holder, [ThunderError("the store is down"), ValueError("a bug")]
    monkeypatch.setattr(world.store, "holder", lambda name: holder(name) if not failures else fail(failures.pop()))
    looking = asyncio.create_task(keep_witness(world, every_s=0.001))
    async with asyncio.timeout(30):
        while not in_force(world):
            await asyncio.sleep(0.001)
    looking.cancel()


def fail(error):
    raise error
