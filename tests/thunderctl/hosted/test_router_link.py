"""A router on a host of one's own, over a real SSH server: it serves there, and is told and asked from here."""

import json
import urllib.request

import psutil
import pytest

from planner.deployment import Codec, Phase
from planner.errors import Incomplete
from runtime.files import write_json
from runtime.messages import ReplicaAddress, Routes, RouteShare
from tests.operating import until
from tests.provisioners.sshd import free_port, sshd
from thunderctl.deploying.taking_down import take_down
from thunderctl.processes.router_process import THERE
from thunderctl.spec.spec import parse_spec
from thunderctl.store.values import Deployment, DeploymentState
from thunderctl.world import open_world

# The link outlives the one that starts it: nobody waits for it.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")

SPEC = """
serve = {{ place = "ssh:office", listen = "127.0.0.1:0", stop_grace_s = 0 }}
[ssh.hosts.office]
address = "{address}"
gpu = "CPU"
gpu_count = 1
key = "{key}"
"""


@pytest.fixture
def office(tmp_path, monkeypatch):
    with sshd(tmp_path / "office") as server:
        monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
        monkeypatch.chdir(tmp_path)
        yield server


def routes(epoch):
    mixed = ReplicaAddress("m0", Phase.MIXED, "http://127.0.0.1:9")
    return Routes(epoch, "m", (mixed,), (RouteShare("m0", "m0", 1.0, Codec.LOCAL),))


async def test_it_serves_there_and_is_told_asked_and_ended_from_here(office):
    spec = parse_spec(SPEC.format(address=office.address, key=office.folder / "login"))
    with open_world("default") as world:
        world.store.save_deployment(Deployment("default", spec=spec.model_dump(mode="json", exclude_unset=True)))
        router = world.router
        await router.serve(routes(1), spec.serve)
        try:
            (there,) = (office.folder / ".local/share/thunderctl/hosted").glob("default-router-*")
            process = psutil.Process(state_there(there)["pid"])
            assert router.endpoint == f"{origin_there(there)}/v1"

            await router.serve(routes(2), spec.serve)
            assert (router.routes().epoch, (await router.observed())["epoch"]) == (2, 2)
            assert process.is_running()

            link = psutil.Process(router.running()["pid"])
            tunnels = link.children()
            link.kill()  # as when this machine was off
            link.wait()
            assert psutil.wait_procs(tunnels, timeout=60)[1] == []
            assert router.running() is None
            with urllib.request.urlopen(f"{origin_there(there)}/v1/models") as answer:
                assert answer.status == 200
            await router.serve(routes(3), spec.serve)
            assert (await router.observed())["epoch"] == 3
            assert process.is_running()  # the same one

            link = psutil.Process(router.running()["pid"])
            link.terminate()  # as this machine is switched off
            link.wait()
            assert process.is_running()
            await router.serve(routes(4), spec.serve)
            assert (await router.observed())["epoch"] == 4

            (router.tls / "tls.crt").unlink()  # as one that ends soon
            renewed = world.router_tls()
            for name in ("tls.crt", "tls.key"):
                until(lambda name=name: tls_there(there, name) == (renewed / name).read_bytes(), seconds=60)
        finally:
            await router.stop()
        assert router.running() is None
        until(lambda: not process.is_running(), seconds=60)
        assert not there.exists()


async def test_one_whose_link_was_killed_is_ended_from_here_and_where_its_host_is_silent_that_is_said(office):
    spec = parse_spec(SPEC.format(address=office.address, key=office.folder / "login"))
    with open_world("default") as world:
        world.store.save_deployment(Deployment("default", spec=spec.model_dump(mode="json", exclude_unset=True)))
        router = world.router
        await router.serve(routes(1), spec.serve)
        (there,) = (office.folder / ".local/share/thunderctl/hosted").glob("default-router-*")
        process = psutil.Process(state_there(there)["pid"])
        link = psutil.Process(router.running()["pid"])
        link.kill()
        link.wait()

        note = json.loads((router.folder / THERE).read_text())
        silent = note["host"] | {"address": f"me@127.0.0.1:{free_port()}"}
        write_json(router.folder / THERE, note | {"host": silent})
        with pytest.raises(Incomplete, match="Everything is released; the router elsewhere goes on: ") as raised:
            await take_down(world, report=lambda _: None)
        assert "--host-gone" in raised.value.hint
        assert process.is_running()
        assert world.store.deployment("default").state is DeploymentState.STOPPING

        write_json(router.folder / THERE, note)
        await take_down(world, report=lambda _: None)
        until(lambda: not process.is_running(), seconds=60)
        assert not there.exists()
        assert not router.folder.exists()
        assert world.store.deployment("default").state is DeploymentState.ABSENT
        await router.stop()  # again, nothing


def state_there(folder):
    return json.loads((folder / "home/router/router.json").read_text())


def tls_there(folder, name):
    return (folder / "home/router/tls" / name).read_bytes()


def origin_there(folder):
    return f"http://127.0.0.1:{state_there(folder)['port']}"
