"""A router on another host that no link leads to: it is ended before anything takes its place, or it stays noted."""

import asyncio
import json
import subprocess
import sys
from dataclasses import asdict
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from planner.deployment import Codec, Phase
from planner.errors import HostError, Refused
from provisioners.ssh.login import SshAddress
from runtime.files import write_json
from runtime.messages import ReplicaAddress, Routes, RouteShare
from runtime.processes import own_process_id
from tests.provisioners.sshd import free_port
from thunderctl.cli.main import app
from thunderctl.hosted.bundle import pack
from thunderctl.hosted.moving import move
from thunderctl.hosted.note import read_away
from thunderctl.hosted.only_link import only_link
from thunderctl.hosted.place import ControlHost
from thunderctl.hosted.router_end import RouterThere, end_by, noted
from thunderctl.hosted.router_link import Link
from thunderctl.processes.router_process import THERE, RouterProcess
from thunderctl.spec.sections import ServeSection
from thunderctl.store.values import Deployment, DeploymentState
from thunderctl.world import open_world

MIXED = ReplicaAddress("m0", Phase.MIXED, "http://127.0.0.1:9")
ROUTES = Routes(1, "m", (MIXED,), (RouteShare("m0", "m0", 1.0, Codec.LOCAL),))
OFFICE = ControlHost("office", SshAddress("10.0.0.9", user="me"))
MAKES_A_LINK = """
import sys, time
from pathlib import Path
from thunderctl.hosted.only_link import only_link
with only_link(Path(sys.argv[1]), {"place": "ssh:office", "at": "me@10.0.0.9:22"}):
    time.sleep(600)
"""
THERE_IT_IS = RouterThere(OFFICE, "/there/d-router", 0.0)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A deployment that serves by a router on the office, which does not answer; no link leads there."""
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("THUNDER_API_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    silent = ControlHost("office", SshAddress("127.0.0.1", free_port(), "me"))
    with open_world("default") as made:
        own = {name: {"address": str(silent.address), "gpu": "CPU", "gpu_count": 1} for name in ("office", "renamed")}
        spec = {"serve": {"place": "ssh:office"}, "ssh": {"hosts": own}}
        made.store.save_deployment(Deployment("default", DeploymentState.SERVING, 4, "", "http://x", 1.5, spec))
        made.router.folder.mkdir(parents=True)
        RouterThere(silent, "/there/d-router", 0.0).note(made.router.folder)
        yield made


def silent_address():
    return f"me@127.0.0.1:{free_port()}"


class Root:
    """The root of a host where every command ends well, but for those with one of these words."""

    def __init__(self, *broken):
        self.broken = broken
        self.ran = []

    async def run(self, command, *, timeout_s, stdin=b""):
        self.ran.append(command)
        fails = any(word in command for word in self.broken)
        return SimpleNamespace(code=int(fails), complaint="the disk is read-only" if fails else "")

    async def get(self, _name):
        raise HostError("There is no such file.")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("--stop", "The router on office can't be ended: the disk is read-only"),
        ("rm -rf", "What the router on office was given can't be removed there: the disk is read-only"),
    ],
)
async def test_the_note_stays_until_the_router_and_all_that_it_was_given_are_gone(tmp_path, broken, said):
    THERE_IT_IS.note(tmp_path)
    with pytest.raises(HostError, match=said) as raised:
        await end_by(Root(broken), THERE_IT_IS, tmp_path, tmp_path / "keys.json")
    assert "thunderctl down --host-gone" in raised.value.hint
    assert (tmp_path / THERE).exists()
    root = Root()
    await end_by(root, THERE_IT_IS, tmp_path, tmp_path / "keys.json")
    assert root.ran[-1] == "rm -rf /there/d-router"
    assert not (tmp_path / THERE).exists()


@pytest.mark.parametrize("place", ["local", "ssh:lab"])
async def test_no_router_starts_elsewhere_while_the_one_before_can_not_be_ended(world, place):
    for _ in range(2):  # as it is tried again
        with pytest.raises(HostError, match="The router on office can't be ended") as raised:
            await world.router.serve(ROUTES, ServeSection(place=place, listen="127.0.0.1:0"))
        assert "thunderctl down --host-gone" in raised.value.hint
        assert world.router.is_unlinked
        assert world.router.routes() is None


@pytest.mark.parametrize("place", ["ssh:office", "ssh:renamed"])
async def test_the_one_that_the_spec_has_there_is_linked_again_not_ended_whatever_its_host_is_called(
    world, monkeypatch, place
):
    started = []

    async def start(_self, serving):
        started.append(serving.place)

    monkeypatch.setattr(RouterProcess, "_start", start)
    await world.router.serve(ROUTES, ServeSection(place=place))
    assert started == [place]
    assert world.router.is_unlinked


async def test_one_of_the_same_name_at_another_address_is_another_host(world):
    moved = world.router.folder / THERE
    write_json(moved, json.loads(moved.read_text()) | {"host": OFFICE.to_json() | {"address": silent_address()}})
    with pytest.raises(HostError, match="The router on office can't be ended"):
        await world.router.serve(ROUTES, ServeSection(place="ssh:office"))


async def test_a_link_that_is_still_made_is_waited_for_and_told_not_started_a_second_time(world, monkeypatch):
    """Who started it was killed; its process goes on."""
    router, told = world.router, []

    async def start(_self, _serving):
        raise AssertionError("a second link")

    async def admin(_self, *asked):
        told.append(asked)

    monkeypatch.setattr(RouterProcess, "_start", start)
    monkeypatch.setattr(RouterProcess, "_admin", admin)
    host = noted(router.folder).host
    with only_link(router.folder, {"place": "ssh:office", "at": host.identity}):
        serving = asyncio.create_task(router.serve(ROUTES, ServeSection(place="ssh:office")))
        await asyncio.sleep(0)
        assert not serving.done()
        Link(world, "ssh:office", host, Root())._write({"host": "127.0.0.1", "port": 8000}, 8001)
        async with asyncio.timeout(30):
            await serving
    assert told == [("PUT", "/admin/routes", ROUTES.to_json())]
    assert router.routes() == ROUTES


async def test_a_link_that_is_still_made_is_ended_where_the_router_belongs_elsewhere_by_now(world):
    router = world.router
    (router.folder / THERE).unlink()  # nothing was started there yet
    making = subprocess.Popen([sys.executable, "-c", MAKES_A_LINK, str(router.folder)])
    try:
        async with asyncio.timeout(60):
            while router.linking() is None:
                await asyncio.sleep(0.02)
        await router.stop()
        assert making.wait(timeout=20) != 0
    finally:
        making.kill()
        making.wait()
    assert router.linking() is None


def test_of_two_links_one_alone_makes_the_way_and_its_file_says_who(world):
    folder = world.router.folder
    with only_link(folder, {"at": "me@office:22"}):
        with pytest.raises(HostError, match="Another process makes or keeps"), only_link(folder, {"at": "x"}):
            raise AssertionError
        assert world.router.linking() == {**asdict(own_process_id()), "at": "me@office:22"}
    with only_link(folder, {"at": "x"}):
        assert world.router.linking()["at"] == "x"


def test_a_link_that_ends_takes_back_what_names_it_and_nobody_else_s(world):
    link, state = Link(world, "ssh:office", OFFICE, Root()), world.router.folder / "router.json"
    link._write({"host": "127.0.0.1", "port": 8000}, 8001)
    link._unsay()
    assert not state.exists()
    write_json(state, {"pid": 1, "started_at": 1.0})
    link._unsay()
    assert state.exists()


async def test_it_is_not_known_to_have_ended_while_it_is_noted_and_no_link_runs(world):
    router = world.router
    assert router.is_unlinked
    with pytest.raises(HostError, match="no link from here"):
        await router.observed()
    me = own_process_id()
    write_json(router.folder / "router.json", {"pid": me.pid, "started_at": me.started_at, "place": "ssh:office"})
    assert not router.is_unlinked
    (router.folder / "router.json").unlink()
    (router.folder / THERE).unlink()
    assert not router.is_unlinked


def test_a_link_says_the_place_it_was_started_for_though_the_spec_names_another_by_now(world):
    state = {"host": "127.0.0.1", "port": 8000}
    Link(world, "ssh:lab", OFFICE, Root())._write(state, 8001)
    assert world.router.running()["place"] == "ssh:lab"


async def test_a_deployment_does_not_move_while_its_router_elsewhere_can_not_be_ended(world):
    with pytest.raises(HostError, match="The router on office can't be ended"):
        await move(world, OFFICE, "/there/default", lambda _: None)
    assert read_away("default") is None
    assert world.store.deployment("default").state is DeploymentState.SERVING


def test_where_a_router_runs_that_this_machine_alone_reaches_does_not_move_along(world):
    (world.router.folder / "routes.json").write_text("{}")
    path, _ = pack(world.store, "default", "this-move")
    packed = {name.rpartition("/")[2] for name in json.loads(path.read_text())["files"]}
    assert "routes.json" in packed
    assert THERE not in packed


def test_down_asks_before_it_ends_a_router_elsewhere_that_no_link_leads_to(world):
    done = CliRunner().invoke(app, ["down"])
    assert isinstance(done.exception, Refused)
    assert (world.router.folder / THERE).exists()
