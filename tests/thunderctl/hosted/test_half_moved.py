"""Commands while a deployment is on its way to another host: in both databases none runs here."""

import asyncio
from types import SimpleNamespace

import pytest

from planner.errors import Incomplete
from provisioners.ssh.login import SshAddress
from thunderctl.cli.there import run_where_it_lives
from thunderctl.controller.process import REPLACING
from thunderctl.deploying.replacers import replacing
from thunderctl.hosted.bundle import bundle_path, pack
from thunderctl.hosted.moving import _hand_over, handed_over
from thunderctl.hosted.note import Away, Moving, write_away
from thunderctl.hosted.place import ControlHost
from thunderctl.store.store import Store
from thunderctl.store.values import Deployment, DeploymentState

AWAY = Away(ControlHost("office", SshAddress("10.0.0.9", user="me")), "default", "/there", "this-move")


@pytest.fixture
def leaving(store_url, tmp_path, monkeypatch):
    """It serves, and the note that it moves is written."""
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("THUNDER_DATABASE_URL", store_url)
    monkeypatch.delenv("THUNDER_API_URL", raising=False)
    with Store() as store:
        store.save_deployment(Deployment("default", DeploymentState.SERVING, 4, "", "http://x", 1.5, {}))
        write_away("default", AWAY)
        yield store


COMMANDS = (["status"], ["leases", "--json"], ["drain", "i0", "--yes"], ["down", "--yes"], ["keys", "list"])


def test_who_replaces_machines_is_ended_before_anything_is_packed(leaving):
    """By itself it would stop at its next change alone, and boot and prepare a machine up to then."""
    done = []

    class Controller:
        async def stop_replacing(self, holders):
            done.extend(one.message for one in holders)
            return True

        async def stop(self):
            done.append("stopped")

    router = SimpleNamespace(may_run=False)
    world = SimpleNamespace(name="default", store=leaving, router=router, controller=Controller())
    said = []
    with replacing(leaving, "default", ["i1"]):
        asyncio.run(_hand_over(world, AWAY.host, "/there", said.append))
    assert done == [f"{REPLACING}: i1", "stopped"]
    assert said == ["The controller was replacing machines; the one there goes on with it."]
    assert bundle_path("default").exists()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_what_was_packed_is_not_acted_on_from_here_until_the_move_is_done(leaving, words):
    assert run_where_it_lives(words) is None, "nothing has left yet"
    pack(leaving, "default", AWAY.move)
    with pytest.raises(Incomplete, match="on its way to office") as raised:
        run_where_it_lives(words)
    assert raised.value.hint == "Go on with it: thunderctl --deployment default up"


@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
def test_a_bundle_of_an_earlier_move_holds_nothing_up(leaving):
    pack(leaving, "default", "an earlier move")
    assert not handed_over(leaving, AWAY)
    bundle_path("default").write_text("half a bun")
    assert not handed_over(leaving, AWAY)
    assert run_where_it_lives(["status"]) is None


def test_what_has_arrived_is_asked_there(leaving, monkeypatch):
    pack(leaving, "default", AWAY.move)
    write_away("default", Away(AWAY.host, "default", "/there", AWAY.move, Moving.THERE))
    asked = []
    monkeypatch.setattr("thunderctl.hosted.moving.send", lambda *_: _nothing())
    monkeypatch.setattr("thunderctl.hosted.asking.run_there", lambda _, words: asked.append(words) or 0)
    assert run_where_it_lives(["status"]) == 0
    assert asked[0][0] == "status"


async def _nothing():
    pass
