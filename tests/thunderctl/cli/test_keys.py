"""`thunderctl keys`, with and without a router that runs, on loopback and behind a certificate."""

import json
import time

import aiohttp
import pytest

from planner.deployment import Codec, Phase
from planner.errors import SpecError
from runtime.messages import ReplicaAddress, Routes, RouteShare
from tests.fakes import FakeEngine, serving
from thunderctl.cli.main import main
from thunderctl.deploying.lifecycle import client_tls
from thunderctl.keys.certificates import ensure_authority, issue
from thunderctl.keys.client_keys import create_key, expiry
from thunderctl.spec.sections import ServeSection
from thunderctl.store.store import Store
from thunderctl.world import World, open_world

# The router outlives the command that starts it: nobody waits for it.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def run(capsys):
    def command(*arguments: str, code: int = 0):
        with pytest.raises(SystemExit) as ended:
            main(["keys", *arguments])
        assert ended.value.code == code
        return capsys.readouterr()

    return command


def test_a_key_is_printed_alone_and_once(run, home):
    made = run("create", "alice", "--rpm", "60", "--expires", "30d")
    key = made.out.strip()
    assert key.startswith("sk-thunder-")
    assert "now asks every client for a key" in made.err
    (listed,) = json.loads(run("list", "--json").out)["keys"]
    assert (listed["name"], listed["state"], listed["requests_per_minute"]) == ("alice", "active", 60)
    assert listed["usage"]["requests"] == 0
    assert key not in "".join(path.read_text() for path in home.rglob("keys.*"))
    assert "now asks" not in run("create", "bob").err


def test_as_json_it_is_one_document(run):
    made = json.loads(run("create", "alice", "--json").out)
    assert (made["schema"], made["keys"][0]["name"]) == ("thunder.keys/v1", "alice")
    assert made["key"].startswith(f"sk-thunder-{made['keys'][0]['id']}-")


def test_a_list_for_people(run):
    assert "There are no keys" in run("list").err
    run("create", "alice", "--tpm", "100000")
    shown = run("list").out
    assert "alice" in shown
    assert "100,000" in shown
    assert "unlimited" in shown


def test_a_key_is_revoked_by_its_name_and_may_be_made_anew(run):
    run("create", "alice")
    error = json.loads(run("create", "alice", "--json", code=2).out)["error"]
    assert "called 'alice' already" in error["message"]
    assert "is revoked" in run("revoke", "alice").err
    assert json.loads(run("list", "--json").out)["keys"] == []
    assert "there are: none" in json.loads(run("revoke", "alice", "--json", code=2).out)["error"]["message"]
    run("create", "alice")


def test_a_list_fits_a_terminal_and_a_cell_is_one_line(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    run("create", "a-client-of-ours", "--rpm", "60", "--tpm", "100000", "--expires", "30d")
    shown = run("list", "--json").out
    [entry] = json.loads(shown)["keys"]
    lines = run("list").out.splitlines()
    made = entry["created_at"][:16].replace("T", " ")
    assert [made in line for line in lines if "a-client-of-ours" in line] == [True, False]


def test_who_revokes_the_last_key_hears_that_nobody_gets_in(run):
    run("create", "alice")
    run("create", "bob")
    assert "Nobody gets in" not in run("revoke", "bob").err
    assert "It was the last one. Nobody gets in until there is one" in run("revoke", "alice").err
    assert "default goes on asking every client for one" in run("list").err


@pytest.mark.parametrize("said", ["", "soon", "0d", "-1d", "2001-01-01", "99999999w", "9" * 13 + "h"])
def test_a_time_that_is_none_or_over_is_refused(said):
    with pytest.raises(SpecError, match="--expires is"):
        expiry(said, time.time())


def test_times_to_come():
    assert expiry("12h", 1000.0) == 1000.0 + 12 * 3600
    assert expiry("2w", 0.0) == 14 * 86400
    assert expiry("2027-01-31", 0.0) == 1801353600
    assert expiry("2027-01-31T01:00:00+01:00", 0.0) == 1801353600


def test_keys_outlive_the_deployments_other_files():
    with open_world("default") as world:
        create_key(world.router.keys, "alice")
        world.router_tls()
        world.forget()
        assert [path.name for path in world.folder.iterdir()] == ["keys"]
    with open_world("other") as world:
        world.router_tls()
        world.forget()
        assert not world.folder.exists()


def test_a_certificate_needs_its_key():
    with pytest.raises(SpecError, match="one of tls_cert and tls_key"):
        client_tls(ServeSection(tls_cert="x"))
    assert client_tls(ServeSection()) is None


async def test_a_router_behind_a_certificate_asks_for_keys_and_counts_their_use(tmp_path):
    """As `up` starts it: reached by clients and by us over TLS, and its counts outlive it."""
    ensure_authority(tmp_path / "ca")
    issue(tmp_path / "ca", "localhost", tmp_path / "shown")
    shown = {"tls_cert": str(tmp_path / "shown" / "tls.crt"), "tls_key": str(tmp_path / "shown" / "tls.key")}
    engine = FakeEngine("m")
    with Store(f"sqlite:///{tmp_path}/store.db") as store:
        world = World("default", store, tmp_path / "deployment")
        world.router_tls()
        key, secret = create_key(world.router.keys, "alice")
        async with serving(engine), aiohttp.ClientSession() as http:
            replicas = (ReplicaAddress("m0", Phase.MIXED, engine.url, max_requests=5),)
            routes = Routes(1, "tiny", replicas, (RouteShare("m0", "m0", 1.0, Codec.LOCAL),))
            await world.router.serve(routes, ServeSection(listen="0.0.0.0:0", **shown))
            try:
                url = f"{world.router.endpoint}/completions"
                assert url.startswith("https://127.0.0.1:")
                for said, status in (("wrong", 401), (secret.reveal(), 200)):
                    headers = {"Authorization": f"Bearer {said}"}
                    async with http.post(url, json={"prompt": "hi"}, headers=headers, ssl=False) as response:
                        assert response.status == status
                assert (await world.router.observed())["admission_limit"] == 5
                assert (await world.router.usage())[key.id].requests == 1
            finally:
                await world.router.stop()
        assert (await world.router.usage())[key.id].output_tokens == 5
        (entry,) = map(json.loads, (world.router.folder / "access.log").read_text().splitlines())
    assert (entry["key"], entry["status"], entry["codec"]) == ("alice", 200, "local")
