"""RunPod from the command line: live offers and renting, both with a key; and the script that pods run at boot."""

import json
import os
import subprocess

import pytest

from planner.errors import AuthError
from provisioners.runpod.provisioner import FOLDER
from tests.provisioners.runpod_cloud import OWNER_KEY, gpu_type
from tests.provisioners.runpod_world import request, runpod_world
from thunderctl.compose import check_leasable, provisioner
from thunderctl.markets.runpod import start_script
from thunderctl.spec.spec import parse_spec

LOOK_S = 60


@pytest.fixture
def world(monkeypatch, tmp_path):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNPOD_API_KEY", OWNER_KEY)
    gpus = (gpu_type("NVIDIA L40S", 48, 0.4, {"US-KS-2": 2, "EU-RO-1": 1}), gpu_type("Some Card", 8, 0.1, {"X": 1}))
    with runpod_world(*gpus) as made:
        monkeypatch.setenv("RUNPOD_URL", made.url)
        yield made


@pytest.mark.usefixtures("world")
def test_the_live_market_is_shown_and_what_is_left_out_of_it_is_named(shown):
    said = shown("offers", "--provider", "runpod", "--json")
    document = json.loads(said.out)
    assert {offer["offer_id"] for offer in document["offers"]} == {
        "1x NVIDIA L40S @ US-KS-2",
        "2x NVIDIA L40S @ US-KS-2",
        "1x NVIDIA L40S @ EU-RO-1",
    }
    assert document["sources"] == [{"provider": "runpod", "ok": True, "error": None, "count": 3, "live": True}]
    assert all(offer["leasable"] for offer in document["offers"])
    assert "Left out of RunPod's catalogue: GPU 'Some Card' is not known." in said.err


@pytest.mark.usefixtures("world")
def test_without_a_key_the_dated_snapshot_stands_in_and_nothing_is_rented(shown, monkeypatch):
    monkeypatch.delenv("RUNPOD_API_KEY")
    said = shown("offers", "--provider", "runpod", "--json")
    assert json.loads(said.out)["source"] == "snapshot"
    assert "runpod has no live offers" in said.err
    with pytest.raises(AuthError, match="RUNPOD_API_KEY is not set"):
        check_leasable("runpod")


async def test_a_pod_gets_the_disk_that_the_model_takes_and_our_own_key(world):
    spec = parse_spec('[model]\nname = "qwen3-32b"\n[markets]\nproviders = ["runpod"]')
    rented = provisioner("runpod", spec)
    [offer, *_] = await rented.offers()
    await rented.lease(request(offer))
    [pod] = world.cloud.pods.values()
    assert pod.body["disk"] == offer.disk_gb == 100.0
    assert pod.body["env"]["PUBLIC_KEY"].startswith("ssh-ed25519 ")


class Container:
    """A pod's container on this machine, its `sleep` taking no time; looks that are named touch run/renewed."""

    def __init__(self, home, world, looks: int, renewed: int = 0) -> None:
        self.home, self.tools = home, home / "bin"
        self.tools.mkdir()
        run_folder = home / "thunder" / "run"
        self._program(
            "sleep",
            f"echo >>{home}/looks\nn=$(wc -l <{home}/looks)\n"
            f"[ $n -le {renewed} ] && touch -d @$n {run_folder}/renewed\n"
            f"[ $n -le {looks} ] || kill -9 $(ps -o ppid= -p $PPID) $PPID\n",  # the switch, and who would restart it
        )
        self._program("setsid", 'shift\nexec "$@"\n')  # so that the test can wait for it
        self._program("runpodctl", f'echo "$@" >>{home}/runpodctl\n')
        body = {"name": "ours", "gpu": {"id": "NVIDIA L40S", "count": 1}, "dataCenterIds": ["US-KS-2"]}
        self.pod = world.cloud.put(body | {"disk": 10, "ports": []}, 0.4)
        self.url = world.url

    def boot(self, spec) -> None:
        script = start_script(spec, self.url).replace(FOLDER, str(self.home / "thunder"))
        script = script.replace("2>&1 &", "2>&1").replace("exec /start.sh", f"touch {self.home}/started")
        environment = {
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "RUNPOD_POD_ID": self.pod.pod_id,
            "RUNPOD_API_KEY": self.pod.key,
        }
        subprocess.run(["bash", "-c", script], env=environment, check=True, timeout=60)

    def _program(self, name: str, text: str) -> None:
        (self.tools / name).write_text(f"#!/bin/sh\n{text}")
        (self.tools / name).chmod(0o755)


SPEC = parse_spec("[leases]\nready_deadline_s = 200\ndeadman_s = 300")


def test_a_pod_that_nobody_speaks_to_ends_itself_and_no_other(world, tmp_path):
    other = world.cloud.put_foreign()
    container = Container(tmp_path, world, looks=30, renewed=10)
    container.boot(SPEC)
    assert list(world.cloud.pods) == [other]
    assert (tmp_path / "started").exists()


def test_a_pod_that_is_spoken_to_lives_on(world, tmp_path):
    container = Container(tmp_path, world, looks=30, renewed=40)
    container.boot(SPEC)
    assert container.pod.pod_id in world.cloud.pods
    assert not world.cloud.asked


def test_a_pod_whose_key_may_not_end_it_asks_runpods_own_tool(world, tmp_path):
    world.cloud.pods_may_end_themselves = False
    container = Container(tmp_path, world, looks=6)
    container.boot(SPEC)
    assert f"remove pod {container.pod.pod_id}" in (tmp_path / "runpodctl").read_text()
