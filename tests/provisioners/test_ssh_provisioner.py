"""Machines that the user owns: leases on the host itself, over real SSH."""

import asyncio
import json
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from planner.errors import NoCapacity, ProvisioningError
from provisioners.base import Label, LeaseRequest
from provisioners.leases.acquire import acquire
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.release import release, resume
from provisioners.leases.resolve import resolve
from provisioners.local.processes import LEASE_VARIABLE
from provisioners.ssh.host import SshHost
from provisioners.ssh.inspection import HostFacts, inspect_command, why_not
from provisioners.ssh.login import SshAddress, SshKeys
from provisioners.ssh.memory import HostMemory
from provisioners.ssh.provisioner import SshProvisioner
from tests.provisioners.conftest import runs
from tests.provisioners.fakes import OURS, OWNER, FakeClock, MemoryJournal, instance, intent
from tests.provisioners.sshd import cpu_host, free_port, ssh_provisioner, sshd

HOST = SshHost("lab", SshAddress("10.0.0.5", 22, "ubuntu"), "A6000", 2)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def host(server, tmp_path) -> SshHost:
    return cpu_host(server, "lab", tmp_path / "host")


@pytest.fixture
def provisioners(tmp_path):
    """Provisioners of several operators or moments; their connections are closed when the test is over."""
    made: list[SshProvisioner] = []

    def make(*hosts: SshHost, home: str = "home", **more: object) -> SshProvisioner:
        made.append(ssh_provisioner(hosts, tmp_path / home, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def ask(host: SshHost, lease_id: str | None = None, owner: str = OWNER) -> LeaseRequest:
    return LeaseRequest(Label(owner, "d", lease_id or str(uuid.uuid4())), host.name, host.usd_per_hour)


async def test_of_many_who_want_a_host_at_once_one_gets_it(provisioners, host):
    rivals = [provisioners(host, home=f"operator{i}") for i in range(5)]
    outcomes = await asyncio.gather(*(rival.lease(ask(host)) for rival in rivals), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Machine", *["NoCapacity"] * 4]
    assert [path.name for path in Path(host.root).iterdir()] == ["machine"]


async def test_another_operators_lease_is_listed_and_the_host_not_offered(provisioners, host):
    machine = await provisioners(host, home="theirs").lease(ask(host))
    ours = provisioners(host, home="ours")
    assert await ours.offers() == ()
    assert ours.left_out["lab"].endswith("ends by: thunderctl gc")
    assert await ours.quote("lab") is None
    assert (await ours.observe()).machines == (machine,)


async def test_a_lease_asked_for_again_is_the_one_that_is_there(provisioners, host):
    request = ask(host)
    one = provisioners(host)
    assert await one.lease(request) == await one.lease(request)


async def test_release_ends_what_runs_there_and_leaves_nothing(provisioners, host):
    one = provisioners(host)
    machine = await one.lease(ask(host))
    transport = one.transport(machine)
    await transport.put("tls/tls.key", b"secret", 0o600)
    loop = "import signal, time; signal.signal(signal.SIGTERM, {}); print('up', flush=True); time.sleep(60)"
    pids = []
    for handler in ("signal.SIG_DFL", "signal.SIG_IGN"):
        program = loop.format(handler)
        line = f'{sys.executable} -c "{program}" >{handler} 2>&1 </dev/null & echo $!'
        pids.append(int((await transport.run(f"setsid {line}", timeout_s=10)).stdout))
        while b"up" not in await transport.get(handler):
            await asyncio.sleep(0.02)
    assert all(runs(pid) for pid in pids)
    await one.release(machine.provider_id)
    assert not any(runs(pid) for pid in pids)
    assert list(Path(host.root).iterdir()) == []
    assert (await one.observe()).machines == ()
    assert [offer.offer_id for offer in await one.offers()] == ["lab"]


async def test_release_removes_what_engines_left_elsewhere_and_nothing_else(provisioners, host):
    one = provisioners(host)
    machine = await one.lease(ask(host))
    name = f"w{uuid.uuid4().hex[:7]}"
    temporary, segment = Path(f"/tmp/thunder-{name}"), Path(f"/dev/shm/psm_vllm_dist_{name}_0")
    other = Path(f"/dev/shm/psm_vllm_dist_x{name[1:]}_0")
    temporary.mkdir()
    segment.touch()
    other.touch()
    record = {"pid": 1, "started_at": 1.0, "temporary": str(temporary), "segments": [f"vllm_dist_{name}"]}
    await one.transport(machine).put("run/r0.pid.json", json.dumps(record).encode(), 0o600)
    try:
        await one.release(machine.provider_id)
        assert (temporary.exists(), segment.exists(), other.exists()) == (False, False, True)
    finally:
        other.unlink()


async def test_a_release_that_was_cut_off_is_finished_by_the_next(provisioners, host):
    one = provisioners(host)
    lease_id = str(uuid.uuid4())
    machine = await one.lease(ask(host, lease_id))
    Path(host.folder).rename(Path(host.root) / f".{lease_id}.gone")
    assert (await one.observe()).machines == ()
    await one.release(machine.provider_id)
    assert list(Path(host.root).iterdir()) == []


async def test_a_later_lease_of_the_host_survives_a_late_release_of_an_earlier_one(provisioners, host):
    one = provisioners(host)
    earlier = await one.lease(ask(host))
    await one.release(earlier.provider_id)
    later = await one.lease(ask(host))
    await one.release(earlier.provider_id)
    assert (await one.observe()).machines == (later,)


async def test_a_leased_host_that_left_the_spec_is_still_seen_and_released(provisioners, host):
    machine = await provisioners(host).lease(ask(host))
    without = provisioners()
    assert (await without.observe()).machines == (machine,)
    await without.release(machine.provider_id)
    assert (await without.observe()).machines == ()
    assert not Path(host.folder).exists()


async def test_a_key_that_was_corrected_in_the_spec_releases_what_was_leased_by_the_other(provisioners, host, tmp_path):
    machine = await provisioners(host).lease(ask(host))
    lease_id = machine.provider_id.rpartition("/")[2]
    lost = replace(host, keys=SshKeys((tmp_path / "lost",), agent=False))
    HostMemory(tmp_path / "home" / "leases").remember(lease_id, lost)
    mended = provisioners(host)
    await mended.release(machine.provider_id)
    assert (await mended.observe()).machines == ()


async def test_a_leased_host_that_is_off_makes_the_listing_incomplete_and_a_spare_one_does_not(provisioners, tmp_path):
    port = free_port()
    with sshd(tmp_path / "one", port=port) as server:
        host = cpu_host(server, "one", tmp_path / "root")
        one = provisioners(host, home="leases it")
        machine = await one.lease(ask(host))
        one.close()
    listing = await one.observe()
    assert not listing.complete
    assert "refused the connection" in listing.reason
    with pytest.raises(ProvisioningError, match=r"can't be released: .* refused"):
        await one.release(machine.provider_id)
    assert (await provisioners(host, home="never did").observe()).complete


async def test_hosts_that_do_not_answer_are_not_offered(provisioners, host):
    off = replace(host, name="off", address=replace(host.address, port=free_port()))
    one = provisioners(host, off)
    assert [offer.offer_id for offer in await one.offers()] == ["lab"]
    with pytest.raises(NoCapacity, match=r"can't be leased: .* refused"):
        await one.lease(ask(off))
    with pytest.raises(ProvisioningError, match="refused the connection"):
        await provisioners(off).offers()


async def test_a_host_that_is_not_what_the_spec_says_is_refused_and_stays_free(provisioners, host):
    liar = replace(host, gpu="H100-SXM")
    one = provisioners(liar)
    with pytest.raises(NoCapacity, match="the spec says 1 x H100-SXM"):
        await one.lease(ask(liar))
    assert not Path(host.root).exists()
    assert (await one.observe()).machines == ()


async def test_a_folder_that_is_not_ours_is_not_touched_and_said(provisioners, host):
    Path(host.folder).mkdir(parents=True)
    (Path(host.folder) / "thesis.tex").touch()
    one = provisioners(host)
    with pytest.raises(NoCapacity, match=r"holds no readable machine\.json"):
        await one.lease(ask(host))
    with pytest.raises(ProvisioningError, match="holds no readable"):
        await one.offers()
    assert (Path(host.folder) / "thesis.tex").exists()


@pytest.mark.parametrize("wrong", [{"label": 5}, {"usd_per_hour": "dear"}, {"usd_per_hour": float("nan")}])
async def test_a_record_that_another_user_of_the_host_made_up_is_no_lease_and_no_crash(provisioners, host, wrong):
    Path(host.folder).mkdir(parents=True)
    record = {"label": "x", "offer_id": "lab", "usd_per_hour": 0.0, "created_at": 1.0, **wrong}
    (Path(host.folder) / "machine.json").write_text(json.dumps(record))
    one = provisioners(host)
    assert (await one.observe()).machines == ()
    with pytest.raises(ProvisioningError, match="holds no readable"):
        await one.offers()


async def test_commands_of_a_machine_name_its_lease(provisioners, host):
    one = provisioners(host)
    machine = await one.lease(ask(host))
    done = await one.transport(machine).run(f"pwd; echo ${LEASE_VARIABLE}", timeout_s=10)
    assert done.stdout.decode().split() == [one.folder(machine), machine.provider_id.rpartition("/")[2]]


async def test_a_machine_is_where_its_host_is_reached_and_knows_its_engines(provisioners, host):
    stated = replace(host, reach="10.0.0.6", engine_python="/opt/engine/bin/python")
    machine = await provisioners(stated).lease(ask(stated))
    assert (machine.address, machine.engine_python) == ("10.0.0.6", "/opt/engine/bin/python")


async def test_the_lease_protocol_holds_over_it(provisioners, host):
    one, journal, clock = provisioners(host), MemoryJournal(), FakeClock()
    wanted = intent(instance(provider="ssh", offer_id="lab", usd_per_hour=host.usd_per_hour))
    row = await acquire(journal, one, wanted, budget_usd_per_hour=1.0, now=clock)
    assert (await resume(journal, one, **OURS, pace=clock.pace())).rows[0].state is LeaseState.CREATED
    sight = await release(journal, one, reason="down", **OURS, pace=clock.pace())
    assert [(found.lease_id, found.state) for found in sight.rows] == [(row.lease_id, LeaseState.GONE)]


def facts(**changed) -> HostFacts:
    return replace(HostFacts(1000.0, 100.0, (("NVIDIA RTX A6000", 47.99),) * 2), **changed)


def test_a_host_as_the_spec_says_is_taken():
    assert why_not(HOST, facts(), now=1030.0) == ""
    assert why_not(replace(HOST, gpu="CPU"), facts(gpus=()), now=1000.0) == ""


def test_a_card_beside_those_that_the_spec_names_is_no_matter():
    for_the_screen = ("NVIDIA T400 4GB", 4.0)
    assert why_not(HOST, facts(gpus=(for_the_screen, *facts().gpus)), now=1000.0) == ""


@pytest.mark.parametrize("root", ["{0}/made/by/the/lease", "{0}", "/"])
def test_the_disk_that_is_looked_at_is_the_one_that_the_root_is_on(tmp_path, root):
    """`df` here says which folder it was asked about."""
    (tmp_path / "df").write_text('#!/bin/sh\necho "$2" >>$0.asked; printf "Filesystem\\nx x x 100000000\\n"')
    (tmp_path / "df").chmod(0o755)
    command = f"PATH={tmp_path}:$PATH\n{inspect_command(root.format(tmp_path))}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert round(HostFacts.parse(done.stdout).disk_gb) == 102
    assert (tmp_path / "df.asked").read_text().strip() == (str(tmp_path) if "{0}" in root else "/")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"gpus": (("NVIDIA RTX A6000", 47.99),)}, "lists 1 GPUs; the spec says 2 x A6000"),
        ({"gpus": (("NVIDIA RTX A6000", 47.99), ("NVIDIA A40", 44.99))}, "has a NVIDIA A40 of 45 GiB"),
        ({"gpus": (("NVIDIA RTX A6000", 23.99),) * 2}, "of 24 GiB; the spec says A6000"),
        ({"gpus": (("Frobnicator 9000", 48.0),) * 2}, "has a Frobnicator 9000"),
        ({"disk_gb": 0.2}, "its disk has 0.2 GB free"),
        ({"clock_s": 4600.0}, "its clock is 3600 s ahead"),
        ({"clock_s": 400.0}, "its clock is 600 s behind"),
    ],
)
def test_a_host_that_is_not_as_the_spec_says_is_refused_with_the_difference(changed, why):
    assert why in why_not(HOST, facts(**changed), now=1000.0)


def test_what_nvidia_smi_prints_is_read():
    text = "clock 1000\ndisk_kib 100000000\ngpu_mib 49140, NVIDIA RTX A6000\ngpu_mib 81559, NVIDIA H100 80GB HBM3\n"
    found = HostFacts.parse(text)
    assert found.gpus == (("NVIDIA RTX A6000", 49140 / 1024), ("NVIDIA H100 80GB HBM3", 81559 / 1024))
    assert (found.clock_s, round(found.disk_gb, 1)) == (1000.0, 102.4)


def test_a_host_is_remembered_as_it_was_stated():
    host = replace(HOST, jump=SshAddress("gate", 2222, "me"), reach="10.0.0.6", sudo=True, engine_python="/opt/python")
    assert SshHost.from_json(json.loads(json.dumps(host.to_json()))) == host


async def test_a_host_that_was_asked_once_and_is_gone_spoils_no_listing_once_its_intent_is_lost(tmp_path):
    """Its row ended long ago; without this the listing would stay incomplete for ever."""
    provisioner, journal, clock = SshProvisioner((), tmp_path, release_script=""), MemoryJournal(), FakeClock()
    gone = SshHost("tower", SshAddress("127.0.0.1", 1, "nobody"), "L40S", 1)
    lease_id = str(uuid.uuid4())
    HostMemory(tmp_path / "leases").remember(lease_id, gone)
    known = ("p", "i0", "ssh", "here", "tower", str(Label(OWNER, "d", lease_id)), 0.0, LeaseState.LOST, clock.at)
    journal.add_lease(LeaseRow(lease_id, OWNER, "d", *known, ended_at=clock.at))
    assert not (await provisioner.observe()).complete
    sight = await resolve(journal, provisioner, **OURS, pace=clock.pace())
    assert sight.distrust == ""
    assert (await provisioner.observe()).complete
