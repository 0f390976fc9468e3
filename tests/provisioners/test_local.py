"""Machines of the local provider: what is sold, whose processes are ended, and what is left alone."""

import json
import os
import time
import uuid

import pytest

from planner.errors import NoCapacity, ProvisioningError
from provisioners.base import Label, LeaseRequest
from provisioners.local.machines import machine_folder
from provisioners.local.offers import OFFER_ID, Host
from provisioners.local.provisioner import LocalProvisioner
from tests.provisioners.conftest import lease_local, runs
from tests.provisioners.fakes import GPU, OWNER

SLEEP = "print('up'); import time; time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
WITH_CHILD = (
    "import subprocess, sys; "
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print(child.pid); " + SLEEP
)


# What is sold.


@pytest.mark.parametrize(
    ("cores", "memory_gib", "slots"), [(2, 23.5, 4), (2, 16.0, 4), (2, 9.0, 2), (64, 62.0, 15), (1, 1.0, 1)]
)
def test_slots_are_half_a_core_and_4_gib(cores, memory_gib, slots):
    assert Host(cores, memory_gib, 100.0).slots == slots


async def test_free_slots_are_offered_at_a_notional_price(local):
    [offer] = await local.offers()
    assert (offer.available, offer.gpu_count, offer.usd_per_hour, offer.gpu.name) == (4, 1, 0.02, "CPU")
    assert (offer.region, offer.network, offer.egress_usd_per_gb) == ("local", "loopback", 0.0)
    for left in (3, 2, 1):
        await lease_local(local)
        assert (await local.offers())[0].available == left
    await lease_local(local)
    assert await local.offers() == ()
    with pytest.raises(NoCapacity, match="All 4 slots"):
        await lease_local(local)


async def test_a_request_below_the_price_is_refused(local):
    with pytest.raises(NoCapacity, match=r"costs 0.02 \$/h; the request allows 0.01"):
        await local.lease(LeaseRequest(Label(OWNER, "d", str(uuid.uuid4())), OFFER_ID, 0.01))


async def test_the_default_is_this_host_and_the_cpu_of_our_own_table(tmp_path):
    [offer] = await LocalProvisioner(tmp_path / "local").offers()
    assert offer.gpu.name == "CPU"
    assert 1 <= offer.available <= 2 * (os.cpu_count() or 1)


# Whose processes are ended.


async def test_release_ends_recorded_processes_with_their_children(local, machine, started):
    transport = local.transport(machine)
    leader = await started(transport, WITH_CHILD, recorded_as="agent")
    child = int((await transport.get("out.txt")).split()[0])
    assert runs(child)
    await local.release(machine.provider_id)
    assert not runs(leader.pid)
    assert not runs(child)
    assert not (await local.observe()).machines


async def test_a_process_that_ignores_the_request_is_killed_after_its_grace(tmp_path, started):
    local = LocalProvisioner(tmp_path / "local", gpu=GPU, slots=1, grace_s=0.3)
    machine = await lease_local(local)
    process = await started(local.transport(machine), STUBBORN, recorded_as="agent")
    begun = time.monotonic()
    await local.release(machine.provider_id)
    assert not runs(process.pid)
    assert 0.3 <= time.monotonic() - begun < 5


async def test_what_outlived_its_leader_is_ended_too(local, machine, started):
    """An engine's worker whose engine was killed, and which dropped the environment it was given."""
    transport = local.transport(machine)
    bare = WITH_CHILD.replace("'import time; time.sleep(60)']", "'import time; time.sleep(60)'], env={}")
    leader = await started(transport, bare, recorded_as="r0")
    child = int((await transport.get("out.txt")).split()[0])
    leader.kill()
    while runs(leader.pid):
        time.sleep(0.01)
    assert runs(child)
    await local.release(machine.provider_id)
    assert not runs(child)


async def test_an_agent_that_has_not_recorded_itself_yet_is_ended_too(local, machine, started):
    process = await started(local.transport(machine), SLEEP)
    await local.release(machine.provider_id)
    assert not runs(process.pid)


async def test_a_pid_that_was_used_again_is_not_touched(local, machine, started):
    transport = local.transport(machine)
    process = await started(transport, SLEEP, environment="env -u THUNDER_LEASE_ID")
    record = {"pid": process.pid, "started_at": process.create_time() - 3600}
    await transport.put("run/agent.pid.json", json.dumps(record).encode(), 0o600)
    await local.release(machine.provider_id)
    assert runs(process.pid)


async def test_processes_of_another_machine_live_on(local, machine, started):
    other = await lease_local(local)
    process = await started(local.transport(other), SLEEP, recorded_as="agent")
    await local.release(machine.provider_id)
    assert runs(process.pid)
    assert [m.provider_id for m in (await local.observe()).machines] == [other.provider_id]


# What is left alone.


async def test_foreign_files_and_folders_are_neither_listed_nor_removed(tmp_path, local):
    root = tmp_path / "local"
    (root / "notes.txt").write_text("mine")
    (root / "my-folder").mkdir()
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "gold").write_text("gold")
    linked = str(uuid.uuid4())
    (root / linked).symlink_to(treasure)
    assert (await local.observe()).machines == ()
    with pytest.raises(ProvisioningError, match="not ours to remove"):
        await local.release(linked)
    machine = await lease_local(local)
    (root / machine.provider_id / "link").symlink_to(treasure)
    await local.release(machine.provider_id)
    assert (treasure / "gold").read_text() == "gold"
    assert {path.name for path in root.iterdir()} == {".lock", "notes.txt", "my-folder", linked}


async def test_a_folder_without_a_label_is_shown_as_nobodys_and_not_removed(tmp_path, local):
    name = str(uuid.uuid4())
    (tmp_path / "local" / name).mkdir()
    [machine] = (await local.observe()).machines
    assert (machine.provider_id, machine.label, machine.state) == (name, "", "unreadable")
    with pytest.raises(ProvisioningError, match="not ours to remove"):
        await local.release(name)


@pytest.mark.parametrize("provider_id", ["", ".", "..", "../..", "notes", "/etc"])
async def test_an_id_that_is_no_lease_names_no_folder(local, provider_id):
    with pytest.raises(ValueError, match="expected a lease's UUID"):
        await local.release(provider_id)


async def test_what_an_interrupted_lease_or_removal_left_is_cleared(tmp_path, local):
    root = tmp_path / "local"
    lease_id = str(uuid.uuid4())
    (root / f".{lease_id}.new").mkdir()
    (root / f".{lease_id}.gone").mkdir()
    (root / f".{lease_id}.gone" / "machine.json").write_text("{}")
    assert (await local.observe()).machines == ()
    await local.lease(LeaseRequest(Label(OWNER, "d", lease_id), OFFER_ID, 0.02))
    await local.release(lease_id)
    assert {path.name for path in root.iterdir()} == {".lock"}
    assert not machine_folder(root, lease_id).exists()
