"""Which plan is in force since when is written down as it comes about, and only then."""

import pytest

from planner.deployment import Codec, Phase
from runtime.messages import ReplicaAddress, RouteShare
from thunderctl import routing
from thunderctl.history import IN_FORCE
from thunderctl.router_process import RouterProcess
from thunderctl.sections import ServeSection
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
