"""Machines of the local provider: what is sold, whose processes are ended, and what is left alone."""

import json
import os
import shutil
import socket
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from planner.errors import NoCapacity, ProvisioningError
from provisioners.base import Label, LeaseRequest
from provisioners.local import processes
from provisioners.local.machines import machine_folder
from provisioners.local.offers import OFFER_ID, Host
from provisioners.local.provisioner import LocalProvisioner
from runtime.agent import leftovers
from runtime.agent.leftovers import make_temporary_folder
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


# What an agent that was killed could not remove.


@pytest.fixture
def engine_folder():
    """The temporary folder of an engine, as an agent makes it, with a rendezvous file in it."""
    folder = make_temporary_folder()
    (folder / f"{leftovers.RENDEZVOUS}{uuid.uuid4().hex}").touch()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def segment():
    """Makes what vLLM leaves in shared memory under a name of its own."""
    made: list[Path] = []

    def make(name: str) -> Path:
        made.append(leftovers.SHARED_MEMORY / f"{name}-tp:0-[0-1]-cpushm_0")
        made[-1].touch()
        return made[-1]

    yield make
    for path in made:
        path.unlink(missing_ok=True)


async def record_engine(transport, process, temporary: Path, segments: list[str]) -> None:
    """The record of an engine r0, as its agent writes it."""
    record = {"pid": process.pid, "started_at": process.create_time(), "spec": {}, "log_start": 0}
    record |= {"temporary": str(temporary), "segments": segments}
    await transport.put("run/r0.pid.json", json.dumps(record).encode(), 0o600)


async def test_release_removes_what_the_engines_of_a_killed_agent_leave(
    local, machine, started, engine_folder, segment
):
    transport = local.transport(machine)
    engine = await started(transport, SLEEP)
    [present] = engine_folder.iterdir()
    gone = f"{leftovers.RENDEZVOUS}{uuid.uuid4().hex}"
    ours = [segment(present.name), segment(gone)]
    other = segment(f"{leftovers.RENDEZVOUS}{uuid.uuid4().hex}")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(engine_folder / "a.sock"))
        await record_engine(transport, engine, engine_folder, [gone])
        agent = await started(transport, SLEEP, recorded_as="agent")
        agent.kill()
        await local.release(machine.provider_id)
    assert not runs(engine.pid)
    assert not engine_folder.exists()
    assert [path.exists() for path in (*ours, other)] == [False, False, True]
    assert not (await local.observe()).machines


async def test_segments_are_known_of_an_engine_that_ended_well(local, machine, started, engine_folder, segment):
    """It removes its rendezvous file when it is asked to stop, and leaves the shared memory."""
    [rendezvous] = engine_folder.iterdir()
    transport = local.transport(machine)
    tidy = f"import os, signal; signal.signal(15, lambda *_: (os.unlink({str(rendezvous)!r}), os._exit(0))); {SLEEP}"
    await record_engine(transport, await started(transport, tidy), engine_folder, [])
    left = segment(rendezvous.name)
    await local.release(machine.provider_id)
    assert not engine_folder.exists()
    assert not left.exists()


@pytest.mark.parametrize("where", ["elsewhere", "named otherwise", "a link", "below", "above"])
async def test_a_recorded_folder_that_is_no_engines_stays(local, machine, started, tmp_path, where, engine_folder):
    elsewhere = tmp_path / "thunder-abcdefgh"
    elsewhere.mkdir()
    otherwise = Path(tempfile.mkdtemp(prefix="another-"))
    link = Path(tempfile.gettempdir()) / f"thunder-{uuid.uuid4().hex[:8]}"
    link.symlink_to(elsewhere)
    inner = engine_folder / "thunder-abcdefgh"
    inner.mkdir()
    above = engine_folder / ".."
    places = {"elsewhere": elsewhere, "named otherwise": otherwise, "a link": link, "below": inner, "above": above}
    transport = local.transport(machine)
    try:
        await record_engine(transport, await started(transport, SLEEP), places[where], [])
        await local.release(machine.provider_id)
        assert all(path.exists() for path in (*places.values(), engine_folder))
    finally:
        link.unlink()
        otherwise.rmdir()


@pytest.mark.parametrize("name", ["", "*", "vllm_dist_", "vllm_dist_*", "cpushm"])
async def test_a_recorded_name_that_is_no_engines_removes_nothing(
    local, machine, started, engine_folder, segment, name: str
):
    other = segment(f"{leftovers.RENDEZVOUS}{uuid.uuid4().hex}")
    transport = local.transport(machine)
    await record_engine(transport, await started(transport, SLEEP), engine_folder, [name])
    await local.release(machine.provider_id)
    assert other.exists()


def test_agents_and_the_local_provider_know_leftovers_by_the_same_rule():
    assert (leftovers.RENDEZVOUS, leftovers.SHARED_MEMORY) == (processes.RENDEZVOUS, processes.SHARED_MEMORY)


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


async def test_a_record_that_says_no_price_is_unreadable(tmp_path, local):
    machine = await lease_local(local)
    path = tmp_path / "local" / machine.provider_id / "machine.json"
    path.write_text(path.read_text().replace("0.02", '"0.02"'))
    [found] = (await local.observe()).machines
    assert (found.state, found.usd_per_hour) == ("unreadable", 0.0)


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
