"""What the doctor finds, and that each finding says how it is mended."""

import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from aiohttp import web

from planner.errors import HostError
from provisioners.base import Label, Machine
from provisioners.leases.journal import LeaseRow, LeaseState
from runtime.messages import AgentHealth
from tests.provisioners.sshd import free_port, sshd
from tests.thunderctl.observing.observed import seen, view
from thunderctl import __version__
from thunderctl.deploying.strays import Looked
from thunderctl.doctor import host as host_module
from thunderctl.doctor.check import check
from thunderctl.doctor.clock import clock_check, judged
from thunderctl.doctor.deployments import agents_check, store_checks
from thunderctl.doctor.host import host_checks
from thunderctl.doctor.providers import credentials_check, hosts_check, leftovers_check
from thunderctl.spec.spec import Spec, parse_spec
from thunderctl.store.store import Store
from thunderctl.store.values import Deployment, DeploymentState

NOW = 1_800_000_000.0
KEYS = ("VAST_API_KEY", "RUNPOD_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")
SPEC = """
[ssh.hosts.here]
address = "{there}"
gpu = "CPU"
gpu_count = 1
key = "{key}"
[ssh.hosts.off]
address = "127.0.0.1:{off}"
gpu = "CPU"
gpu_count = 1
"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def named(checks):
    """By name; each that is not well says what to do."""
    assert all(one.ok or one.mend for one in checks), [one.name for one in checks if not (one.ok or one.mend)]
    return {one.name: one for one in checks}


# This host.


def on_host(provider="vast", path=None):
    spec = Spec.model_validate({"markets": {"providers": [provider]}, "serve": {"listen": f"127.0.0.1:{free_port()}"}})
    return named(host_checks("default", path, spec))


def test_a_host_as_it_should_be(monkeypatch):
    monkeypatch.setattr(host_module, "engine_version", lambda: "vllm 0.32")
    monkeypatch.setattr(host_module, "engine_python", lambda: "/e/python")
    found = on_host()
    assert all(one.ok for one in found.values())
    assert found["python"].detail.startswith("3.")
    assert found["thunderctl"].detail == __version__
    assert found["engine environment"].detail == "vllm 0.32 in /e/python"
    assert "is free" in found["port"].detail


def test_an_engine_environment_is_missed_only_where_engines_run_here(monkeypatch):
    monkeypatch.setenv("THUNDER_ENGINE_PYTHON", "/no/python")
    assert on_host("vast")["engine environment"].ok
    missing = on_host("local")["engine environment"]
    assert (missing.ok, "make setup" in missing.mend) == (False, True)


def test_an_ssh_program_is_missed_only_where_machines_are_reached_by_ssh(monkeypatch):
    monkeypatch.setattr(host_module.shutil, "which", lambda _: None)
    assert on_host("local")["ssh program"].ok
    missing = on_host("aws")["ssh program"]
    assert (missing.ok, "openssh-client" in missing.mend) == (False, True)


def test_a_port_that_is_taken_a_spec_that_is_wrong_a_disk_that_is_full(monkeypatch, tmp_path):
    (tmp_path / "wrong.toml").write_text("[budget]\nusd_per_hour = -1\n")
    monkeypatch.setattr(host_module, "FREE_GB", 10**9)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        spec = Spec.model_validate({"serve": {"listen": f"127.0.0.1:{taken.getsockname()[1]}"}})
        found = named(host_checks("default", tmp_path / "wrong.toml", spec))
    assert not found["port"].ok
    assert "another port" in found["port"].mend
    assert "wrong.toml:2: [budget] usd_per_hour is -1" in found["spec"].detail
    assert (found["disk"].ok, "GB free under" in found["disk"].detail) == (False, True)


def test_an_errors_own_hint_is_the_mend_before_the_usual_one():
    def fails():
        raise HostError("It is broken.", hint="Do this.")

    assert check("it", fails, "Do that.").mend == "Do this."

    def breaks():
        raise subprocess.TimeoutExpired("x", 3)

    assert check("it", breaks, "Do that.").mend == "Do that."


# The store and what it knows.


def lease(deployment, lease_id="l0", state=LeaseState.READY):
    known = ("owner", deployment, "p", "i0", "vast", "", "o", f"label {lease_id}", 1.0)
    return LeaseRow(lease_id, *known, state, NOW)


def of_store():
    with Store() as store:
        return named(store_checks(store))


def test_a_store_with_nothing_amiss():
    with Store() as store:
        store.save_deployment(Deployment("default"))
    found = of_store()
    assert all(one.ok for one in found.values())
    assert "1 deployments" in found["store"].detail


def test_work_that_was_cut_off_is_named_with_the_command_that_goes_on_with_it():
    with Store() as store:
        store.save_deployment(Deployment("a", DeploymentState.STARTING))
        store.save_deployment(Deployment("b", DeploymentState.STOPPING))
        store.save_deployment(Deployment("c", DeploymentState.STARTING))
        with store.lock("c", "up"):
            found = named(store_checks(store))
    assert found["cut off work"].detail == "a was left starting, b was left stopping"
    assert "thunderctl --deployment a up; thunderctl --deployment b down" in found["cut off work"].mend
    assert "c by " in found["locks"].detail
    assert found["locks"].ok


def test_a_lock_whose_holder_died_is_nothing_to_mend():
    code = (
        "import os; from thunderctl.store.store import Store\n"
        "store = Store(); store.lock('default', 'up').__enter__(); os._exit(9)"
    )
    with Store() as store:
        store.save_deployment(Deployment("default"))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    found = of_store()["locks"]
    assert (found.ok, found.detail) == (True, "none is held")


def test_machines_that_nobody_looks_after_are_said():
    with Store() as store:
        store.add_lease(lease("prod"))
        store.add_lease(lease("old", "l1", LeaseState.GONE))
    found = of_store()["controllers"]
    assert found.detail == "nobody looks after prod, whose machines may cost"
    assert found.mend == "thunderctl --deployment prod up"


def test_agents_of_another_version_and_silent_ones_are_named():
    there, other, silent = view("i0"), view("i1"), view("i2")
    object.__setattr__(there, "health", AgentHealth("i0", "abc"))
    object.__setattr__(other, "health", AgentHealth("i1", "xyz"))
    object.__setattr__(silent, "health", None)
    object.__setattr__(silent, "problem", "no answer in time")
    assert agents_check(seen(there), "abc").ok
    found = agents_check(seen(there, other, silent), "abc")
    assert (found.ok, found.detail) == (False, "i2 is silent: no answer in time; i1 run another version's code")
    assert agents_check(seen(), "abc").detail == "none"


# The clock.


def test_a_clock_is_held_against_servers_and_the_middle_one_counts():
    assert judged([0.3, -0.4, 900.0], 0.0, NOW).ok
    wrong = judged([130.0, 125.0, 0.0], 0.0, NOW)
    assert (wrong.ok, wrong.detail) == (False, "125 s ahead")
    assert judged([-10.0], 0.0, NOW).detail == "10 s behind"
    assert judged([-10.0], 0.0, NOW).ok


def test_where_no_server_answers_it_is_held_against_what_has_happened():
    assert judged([], NOW - 100, NOW).ok
    behind = judged([], NOW + 3600, NOW)
    assert (behind.ok, "2027-01-15T09:00:00" in behind.detail) == (False, True)
    assert not judged([], 0.0, 1000.0).ok, "before the prices in the package were read"
    assert "timedatectl" in behind.mend


@pytest.mark.parametrize(("shift_s", "ok"), [(0, True), (3600, False)])
async def test_the_servers_of_the_providers_in_use_are_asked(monkeypatch, shift_s, ok):
    from email.utils import formatdate

    async def answer(_):
        return web.Response(status=404, headers={"Date": formatdate(time.time() - shift_s, usegmt=True)})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("VAST_URL", f"http://127.0.0.1:{runner.addresses[0][1]}")
    found = await clock_check(("vast", "local"), 0.0)
    await runner.cleanup()
    assert found.ok is ok
    assert "not compared" not in found.detail
    monkeypatch.setenv("VAST_URL", f"http://127.0.0.1:{free_port()}")
    assert "not compared" in (await clock_check(("vast",), 0.0)).detail


# Providers.


def test_credentials_that_there_are_none_of_are_missed_only_where_they_are_needed():
    assert credentials_check("vast", None, needed=False).ok
    missing = credentials_check("vast", None, needed=True)
    assert (missing.ok, missing.detail) == (False, "none (VAST_API_KEY)")
    assert "VAST_API_KEY" in missing.mend


def test_credentials_are_good_once_the_provider_lists_with_them(monkeypatch):
    monkeypatch.setenv("VAST_API_KEY", "k")
    good = credentials_check("vast", Looked("vast", (Machine("1", "x", "running", 1.0),)), needed=False)
    assert (good.ok, good.detail) == (True, "good: it lists 1 machines")
    bad = credentials_check("vast", Looked("vast", (), "Vast.ai refuses the key (401)"), needed=False)
    assert (bad.ok, bad.detail) == (False, "Vast.ai refuses the key (401)")


def test_machines_left_over_are_named_and_so_is_who_could_not_be_asked():
    looked = [Looked("vast", ()), Looked("aws", (), "no answer")]
    assert leftovers_check([], looked).detail == "none (aws could not be asked)"
    found = leftovers_check(["7 of vast"], looked[:1])
    assert (found.ok, found.detail, "gc --delete" in found.mend) == (False, "7 of vast", True)


async def test_each_host_of_ones_own_is_tried(tmp_path):
    assert await hosts_check(Spec()) == []
    with sshd(tmp_path / "sshd") as server:
        spec = parse_spec(SPEC.format(there=server.address, key=server.folder / "login", off=free_port()))
        found = named(await hosts_check(spec))
    assert found["host here"].ok
    assert (found["host off"].ok, "refused the connection" in found["host off"].detail) == (False, True)


async def test_one_look_at_each_provider_tells_of_keys_and_of_leftovers(monkeypatch):
    from thunderctl.doctor import providers

    label = str(Label("me", "gone", "l9"))
    stray = Machine("77", label, "running", 1.0)

    async def look_around(_):
        return (Looked("vast", (stray,)), Looked("local", ()))

    monkeypatch.setenv("VAST_API_KEY", "k")
    monkeypatch.setattr(providers, "look_around", look_around)
    monkeypatch.setattr(providers, "owner_id", lambda: "me")
    with Store() as store:
        spec = parse_spec('[markets]\nproviders = ["vast", "aws"]')
        found = named(await providers.provider_checks(SimpleNamespace(store=store), spec))
    assert found["credentials vast"].ok
    assert not found["credentials aws"].ok, "the spec names it"
    assert found["credentials runpod"].ok, "nobody asks for it"
    assert found["leftovers"].detail == "77 of vast"
