"""What the controller tells of itself: what its last tick heard, and what a store of its own connection says."""

import asyncio
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from jsonschema import Draft202012Validator

from planner.deployment import Codec
from planner.document import plan_to_json
from planner.errors import ThunderError
from provisioners.ssh.login import SshAddress
from runtime.files import write_json
from runtime.messages import AgentHealth, EngineHealth, ReplicaAddress, Routes, RouteShare
from tests.provisioners.fakes import FakeClock, FakeCloud
from tests.thunderctl.controller.situations import PLAN, row
from thunderctl.api.lookout import Lookout
from thunderctl.api.numbers import Numbers
from thunderctl.api.schemas import DOCUMENTS
from thunderctl.api.shared import Shared
from thunderctl.api.stored import Stored
from thunderctl.hosted.place import ControlHost
from thunderctl.hosted.router_end import RouterThere
from thunderctl.observing.observe import InstanceView
from thunderctl.store.store import Store
from thunderctl.store.values import Deployment, DeploymentState
from thunderctl.world import World


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    with Store() as opened:
        yield opened


@pytest.fixture
async def lookout(store, tmp_path):
    for instance in ("i0", "i1"):
        an_hour_ago = time.time() - 3600
        store.add_lease(replace(row(instance), created_at=an_hour_ago, sent_at=an_hour_ago, prices=()))
    store.save_plan(PLAN.plan_id, "d", plan_to_json(PLAN))
    store.save_deployment(Deployment("d", DeploymentState.SERVING, 3, PLAN.plan_id, budget_usd_per_hour=5.0))
    rows = {one.instance: one for one in store.leases("d")}
    health = AgentHealth("i0", "1", engines=(EngineHealth("r0", "ready", running=2),))
    agent = SimpleNamespace(url="https://10.0.0.1:1")
    contact = SimpleNamespace(views=(InstanceView(rows["i0"], None, agent, health),))
    listings = SimpleNamespace(machines={}, distrust=lambda _: {})
    world = World("d", store, tmp_path)
    world._provisioners = {"vast": FakeCloud(FakeClock(), provider="vast")}
    stored = Stored(answer_s=5.0)
    yield Lookout(world, contact, listings, stored, Numbers())
    await stored.close()


async def test_status_is_what_the_last_tick_heard_beside_the_stores_rows(lookout):
    said = await lookout.status()
    Draft202012Validator(DOCUMENTS["Status"]).validate(said)
    by_id = {one["id"]: one for one in said["instances"]}
    assert by_id["i0"]["problem"] == ""
    assert by_id["i1"]["problem"] == "the provider does not list it"
    assert {one["id"]: one["state"] for one in said["replicas"]}["r0"] == "ready"
    assert said["slo"]["ttft_s"] == PLAN.slo.ttft_s


async def test_a_router_elsewhere_that_no_link_leads_to_is_shown_with_its_routes_and_that_nobody_reaches_it(
    lookout, store, tmp_path
):
    store.save_deployment(replace(store.deployment("d"), endpoint="http://office/v1"))
    folder = tmp_path / "router"
    folder.mkdir()
    addresses = tuple(ReplicaAddress(one.id, one.phase, "http://x") for one in PLAN.replicas)
    there = Routes(3, "m", addresses, (RouteShare("r0", "r1", 1.0, Codec.RAW),))
    write_json(folder / "routes.json", there.to_json())
    assert (await lookout.status())["endpoint"] == ""
    RouterThere(ControlHost("office", SshAddress("10.0.0.9")), "/there", 0.0).note(folder)
    lookout._status = Shared(lookout._read_status, 0.0)
    said = await lookout.status()
    assert (said["state"], said["endpoint"], len(said["routes"])) == ("degraded", "http://office/v1", 1)
    assert any("No link leads to the router" in alert for alert in said["alerts"])
    assert not any("not running" in alert for alert in said["alerts"])


async def test_a_lease_that_changed_since_the_last_tick_is_shown_as_it_is(lookout, store):
    before = next(one for one in store.leases("d") if one.instance == "i0")
    draining = replace(before.moved(type(before.state).DRAINING, reason="its time is over"))
    store.update_lease(draining, was=before.state)
    said = await lookout.status()
    assert {one["id"]: one["state"] for one in said["instances"]}["i0"] == "draining"


async def test_before_the_first_tick_nothing_is_told(lookout):
    lookout.contact.views = None
    with pytest.raises(ThunderError, match="has just begun"):
        await lookout.status()


async def test_plans_history_events_and_leases_are_the_stores(lookout, store):
    assert (await lookout.plan())["plan_id"] == PLAN.plan_id
    with pytest.raises(LookupError):
        await lookout.plan("nothing")
    store.record("d", "step.lease", "one")
    store.record("d", "step", "two")
    store.record("d", "stepping", "three")
    store.record("other", "step", "of another")
    assert [one["message"] for one in (await lookout.events(kinds=("step",)))["events"]] == ["one", "two"]
    first = (await lookout.events(limit=2))["events"]
    assert [one["message"] for one in first] == ["two", "three"]
    later = (await lookout.events(after_id=first[0]["id"], limit=1))["events"]
    assert [one["message"] for one in later] == ["three"]
    for name, said in (("History", lookout.history()), ("Leases", lookout.leases())):
        Draft202012Validator(DOCUMENTS[name]).validate(await said)


async def test_an_audit_is_an_event_of_the_deployment(lookout, store):
    await lookout.record("operator: down accepted", {"who": "operator"})
    [event] = store.events("d")
    assert (event.kind, event.message, event.detail) == ("audit", "operator: down accepted", {"who": "operator"})


async def test_who_holds_the_lock_is_named_unless_it_is_the_controller(lookout, store):
    assert await lookout.who_works() == ""
    with store.lock("d", "up"):
        assert ": up." in await lookout.who_works()


async def test_phases_that_change_are_counted(lookout):
    for phase in ("prefill", "decode", "decode"):
        lookout._count_flips({"replicas": [{"id": "r0", "phase": phase}]})
    assert b"thunder_flips_total 1.0" in lookout.numbers.text()


@pytest.mark.usefixtures("store")
async def test_a_store_that_hangs_is_said_and_nobody_else_waits():
    go_on = threading.Event()
    stored = Stored(answer_s=0.05)
    with pytest.raises(ThunderError, match=r"no answer within 0\.05 s"):
        await stored.ask(lambda _: go_on.wait(30))
    await asyncio.sleep(0)  # the loop goes on, as ticks do
    go_on.set()
    stored.answer_s = 10.0
    assert await stored.ask(lambda one: one.deployments()) == ()
    await stored.close()


@pytest.mark.usefixtures("store")
async def test_a_store_that_cannot_be_opened_is_opened_later():
    tries = []

    def open_store():
        tries.append(1)
        if len(tries) == 1:
            raise ThunderError("Its server can't be reached.")
        return Store()

    stored = Stored(open_store)
    with pytest.raises(ThunderError, match="can't be reached"):
        await stored.ask(lambda one: one.deployments())
    assert await stored.ask(lambda one: one.deployments()) == ()
    await stored.close()


async def test_what_is_read_is_shared_while_it_is_fresh():
    at, reads = 0.0, []

    async def read():
        reads.append(at)
        await asyncio.sleep(0)
        if len(reads) == 3:
            raise ThunderError("not now")
        return len(reads)

    shared = Shared(read, 1.0, clock=lambda: at)
    assert await asyncio.gather(*(shared.get() for _ in range(10))) == [1] * 10
    at = 0.9
    assert await shared.get() == 1
    at = 1.0
    assert await shared.get() == 2
    at = 5.0
    with pytest.raises(ThunderError):
        await shared.get()
    assert await shared.get() == 4, "what failed is tried again at once"
