"""What a rebalance changes, told from two plans; and what `down` looks at."""

import asyncio
import time
from dataclasses import replace

import pytest

from planner.deployment import Codec, Phase
from planner.errors import AuthError, Incomplete
from provisioners.base import Label, Machine
from provisioners.leases.journal import LATE_S, LeaseRow, LeaseState
from provisioners.ssh.login import SshAddress
from runtime.files import write_json
from runtime.processes import own_process_id
from tests.planner.plans import split_plan
from tests.provisioners.fakes import OWNER, FakeClock, FakeCloud
from tests.provisioners.sshd import free_port
from thunderctl.controller.process import ControllerProcess
from thunderctl.deploying.apply import StepState
from thunderctl.deploying.lifecycle import Flip, differ, flips_between
from thunderctl.deploying.settling import providers_to_prove
from thunderctl.deploying.taking_down import take_down
from thunderctl.hosted.place import ControlHost
from thunderctl.hosted.router_end import RouterThere
from thunderctl.processes.router_process import THERE, RouterProcess
from thunderctl.store.store import Store
from thunderctl.store.values import DeploymentState
from thunderctl.world import World


def test_a_plan_does_not_differ_from_itself():
    assert not differ(split_plan(), split_plan())


def test_a_replica_in_another_phase_is_a_flip_and_a_difference():
    current = split_plan()
    first, *others = current.replicas
    wanted = replace(current, replicas=(first.flipped(Phase.MIXED), *others))
    assert flips_between(current, wanted) == [Flip(first.id, first.phase, Phase.MIXED)]
    assert differ(current, wanted)


def test_another_codec_of_one_route_is_a_difference_without_a_flip():
    current = split_plan()
    first, *others = current.routes
    wanted = replace(current, routes=(replace(first, codec=Codec.INT8), *others))
    assert flips_between(current, wanted) == []
    assert differ(current, wanted)


# Down.


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud(FakeClock(time.time()), provider="vast", consistent=True)


@pytest.fixture
def world(tmp_path, cloud, monkeypatch):
    """A deployment with one lease that was given up a minute ago."""
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        made = World("d", store, tmp_path / "d")
        made.folder.mkdir()
        made._provisioners["vast"] = cloud
        spec = {"leases": {"poll_s": 0.1}, "serve": {"stop_grace_s": 0}}
        store.save_deployment(replace(store.deployment("d"), spec=spec))
        store.add_lease(given_up(time.time() - 60))
        yield made


def given_up(at: float) -> LeaseRow:
    label = str(Label(OWNER, "d", "l0"))
    lost = LeaseState.LOST
    return LeaseRow("l0", OWNER, "d", "p", "i0", "vast", "here", "offer", label, 1.0, lost, at, at, at + 30)


async def test_a_machine_that_shows_up_after_its_lease_was_given_up_is_released_by_down(world, cloud):
    cloud.machines["late"] = Machine("late", str(Label(OWNER, "d", "l0")), "running", 1.0)
    results = await take_down(world, report=lambda _: None)
    assert [result.state for result in results] == [StepState.DONE]
    assert not cloud.machines
    assert [row.state for row in world.store.leases("d")] == [LeaseState.GONE]


async def test_down_does_not_call_gone_what_could_not_be_looked_for(world, cloud):
    cloud.list_faults.append("failed")
    [result] = await take_down(world, report=lambda _: None)
    assert isinstance(result.error, Incomplete)
    assert "What vast has is not known: 410 Gone" in result.error.message


async def test_down_ends_a_router_that_a_controller_started_before_it_was_ended(world, monkeypatch):
    ended = []

    def ends(name):
        async def stop(_self):
            ended.append(name)

        return stop

    monkeypatch.setattr(RouterProcess, "stop", ends("router"))
    monkeypatch.setattr(ControllerProcess, "stop", ends("controller"))
    await take_down(world, report=lambda _: None)
    assert ended == ["router", "controller", "router"]


async def test_a_provider_whose_credentials_are_broken_holds_up_no_others_release(world, cloud):
    at = time.time() - 60
    for name, provider in (("l1", "vast"), ("l2", "aws")):
        label, ready = str(Label(OWNER, "d", name)), LeaseState.READY
        world.store.add_lease(
            LeaseRow(name, OWNER, "d", "p", name, provider, "", "o", label, 1.0, ready, at, at, provider_id=f"m-{name}")
        )
    cloud.machines["m-l1"] = Machine("m-l1", str(Label(OWNER, "d", "l1")), "running", 1.0)
    lost = NoKey(cloud.clock, provider="aws")
    world._provisioners["aws"] = lost
    aws, vast = await take_down(world, report=lambda _: None)
    assert (aws.step.id, vast.step.id, vast.state) == ("aws", "vast", StepState.DONE)
    assert isinstance(aws.error, Incomplete)
    assert "What aws has is not released: its key was revoked" in aws.error.message
    assert aws.error.hint == "Export another."
    assert not cloud.machines
    assert world.store.deployment("d").state is DeploymentState.STOPPING


async def test_a_router_elsewhere_that_can_not_be_reached_holds_up_no_release(world, cloud):
    cloud.machines["late"] = Machine("late", str(Label(OWNER, "d", "l0")), "running", 1.0)
    silent = ControlHost("office", SshAddress("127.0.0.1", free_port(), "me"))
    world.router.folder.mkdir()
    RouterThere(silent, "/there/d-router", 0.0).note(world.router.folder)
    for _ in range(2):
        with pytest.raises(Incomplete, match="Everything is released; the router elsewhere goes on: ") as raised:
            await take_down(world, report=lambda _: None)
        assert "`thunderctl down --host-gone`" in raised.value.hint
        assert not cloud.machines
        assert world.store.deployment("d").state is DeploymentState.STOPPING
    await take_down(world, report=lambda _: None, host_gone=True)
    assert not world.folder.exists()
    assert world.store.deployment("d").state is DeploymentState.ABSENT


async def test_machines_are_released_while_a_router_elsewhere_still_ends(world, cloud, monkeypatch):
    """It ends here only once they are gone: whoever waits for it first waits for ever."""
    at = time.time() - 60
    label = str(Label(OWNER, "d", "l1"))
    world.store.add_lease(
        LeaseRow("l1", OWNER, "d", "p", "i1", "vast", "", "o", label, 1.0, LeaseState.READY, at, at, provider_id="m")
    )
    cloud.machines["m"] = Machine("m", label, "running", 1.0)
    world.router.folder.mkdir()
    me = own_process_id()
    state = {"pid": me.pid, "started_at": me.started_at, "place": "ssh:office", "stop_grace_s": 600.0}
    write_json(world.router.folder / "router.json", state)
    closed = []

    async def close(_self):
        closed.append(dict(cloud.machines))

    async def observed(_self):
        return {"closed": bool(closed), "in_flight": {"4": 0}}

    async def stop(_self):
        while cloud.machines:
            await asyncio.sleep(0.01)

    for name, does in (("close", close), ("observed", observed), ("stop", stop)):
        monkeypatch.setattr(RouterProcess, name, does)
    async with asyncio.timeout(60):
        await take_down(world, report=lambda _: None)
    assert closed
    assert "m" in closed[0], "nobody is let in before anything goes"
    assert world.store.deployment("d").state is DeploymentState.ABSENT


async def test_a_note_of_a_router_elsewhere_that_can_not_be_read_is_named_and_not_guessed(world):
    world.router.folder.mkdir()
    (world.router.folder / THERE).write_text("{}")
    with pytest.raises(Incomplete, match=r"there\.json says where the router runs, and can't be read"):
        await take_down(world, report=lambda _: None)


class NoKey(FakeCloud):
    async def observe(self):
        raise AuthError("its key was revoked.", hint="Export another.")

    async def release(self, provider_id: str) -> None:
        raise AuthError("its key was revoked.", hint="Export another.")


def test_a_provider_that_was_asked_longer_ago_is_not_looked_at_again():
    row = given_up(0.0)
    assert providers_to_prove([row], LATE_S) == ["vast"]
    assert providers_to_prove([row], LATE_S + 1) == []
    assert providers_to_prove([replace(row, state=LeaseState.CREATED)], LATE_S + 1) == ["vast"]
