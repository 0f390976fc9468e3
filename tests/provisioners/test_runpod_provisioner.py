"""Renting from RunPod: what a pod is asked for with, how it is reached, and when it is of no use."""

import base64
import shlex
from dataclasses import replace

import pytest

from planner.errors import HostError, NoCapacity, ProvisioningError
from planner.requirements import CUDA_VERSION
from provisioners.base import Label, LeaseRequest
from tests.provisioners.fakes import OWNER
from tests.provisioners.runpod_world import request, runpod_world


@pytest.fixture
def world():
    with runpod_world() as made:
        yield made


async def test_a_pod_bears_its_label_its_ports_our_key_and_its_script(world):
    provisioner = world.provisioner()
    [offer, *_] = await provisioner.offers()
    asked = request(offer, lifetime_s=3600.0)
    machine = await provisioner.lease(asked)
    [pod] = world.cloud.pods.values()
    assert (machine.provider_id, machine.label, pod.name) == (pod.pod_id, str(asked.label), str(asked.label))
    assert not machine.problem
    body = pod.body
    assert body["gpu"] == {"id": "NVIDIA L40S", "count": 1, "minCudaVersion": str(CUDA_VERSION)}
    assert (body["cloud"], body["dataCenterIds"], body["disk"]) == ("SECURE", ["US-KS-2"], 120)
    assert body["ports"] == ["22/tcp", "8443/tcp"]
    assert body["env"] == {"PUBLIC_KEY": "ssh-ed25519 AAAAC3Nz thunder's own"}
    program, flag, command = shlex.split(body["args"])
    assert (program, flag) == ("bash", "-c")
    assert base64.b64decode(command.split()[1]).decode() == "echo for 3600.0"


async def test_a_pod_that_was_given_another_name_is_of_no_use_and_can_be_released(world):
    """Without its label it could not be found again after a crash."""
    world.cloud.spoil("create", "other name")
    provisioner = world.provisioner()
    [offer, *_] = await provisioner.offers()
    machine = await provisioner.lease(request(offer))
    assert "which is not its label" in machine.problem
    await provisioner.release(machine.provider_id)
    assert not world.cloud.pods


@pytest.mark.parametrize("changes", [{"interruptible": True}, {"offer_id": "local-slot"}, {"offer_id": "11-120gb-bid"}])
async def test_a_request_that_fits_no_offer_is_refused_before_it_is_sent(world, changes):
    asked = LeaseRequest(Label(OWNER, "d", "l"), "1x NVIDIA L40S @ US-KS-2", 1.0)
    with pytest.raises(NoCapacity):
        await world.provisioner().lease(replace(asked, **changes))
    assert not world.cloud.asked


async def test_a_label_that_would_be_cut_off_is_refused(world):
    label = Label(OWNER, "d" * 120, "l" * 36)
    with pytest.raises(ProvisioningError, match="191 characters"):
        await world.provisioner().lease(LeaseRequest(label, "1x NVIDIA L40S @ US-KS-2", 1.0))
    assert not world.cloud.asked


async def test_a_pod_that_runs_and_is_never_reached_is_stuck(world):
    """Such pods bill: RunPod calls them running, and maps no port."""
    provisioner = world.provisioner(boot_s=600.0)
    [offer, *_] = await provisioner.offers()
    await provisioner.lease(request(offer))
    [pod] = world.cloud.pods.values()
    pod.body = pod.body | {"ports": []}
    assert [machine.problem for machine in (await provisioner.observe()).machines] == [""]
    world.clock.at += 601
    [machine] = (await provisioner.observe()).machines
    assert machine.problem == "stuck: still RUNNING after 601 s"


async def test_the_live_price_is_listed(world):
    provisioner = world.provisioner()
    [offer, *_] = await provisioner.offers()
    await provisioner.lease(request(offer))
    [pod] = world.cloud.pods.values()
    pod.usd_per_hour = 0.9
    [machine] = (await provisioner.observe()).machines
    assert machine.usd_per_hour > 0.9


async def test_the_transport_is_ssh_to_where_it_is_reached(world, tmp_path):
    world.cloud.boot_s = 60.0
    provisioner = world.provisioner(known_hosts=tmp_path / "known_hosts")
    [offer, *_] = await provisioner.offers()
    machine = await provisioner.lease(request(offer))
    with pytest.raises(HostError, match="can't be reached yet"):
        provisioner.transport(machine)
    world.clock.at += 60
    [machine] = (await provisioner.observe()).machines
    assert provisioner.transport(machine) is not None
    assert provisioner.folder(machine) == "/root/thunder/machine"
