"""`kill -9` at every named point of the lease protocol, in a real process, then the same command again."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from provisioners.base import Label
from provisioners.leases.journal import LeaseState
from provisioners.leases.ledger import usd_per_hour
from provisioners.leases.release import resume
from tests.provisioners import crash_driver
from tests.provisioners.aws_cloud import AwsCloud
from tests.provisioners.aws_world import aws_world
from tests.provisioners.conftest import runs
from tests.provisioners.crash_driver import BUDGET, PACE, provisioner
from tests.provisioners.fakes import FakeClock
from tests.provisioners.host_worlds import engine_python_in
from tests.provisioners.runpod_cloud import OWNER_KEY as RUNPOD_KEY
from tests.provisioners.runpod_cloud import gpu_type
from tests.provisioners.runpod_world import runpod_world
from tests.provisioners.sshd import ssh_servers
from tests.provisioners.vast_market import OWNER_KEY, bundle
from tests.provisioners.vast_world import vast_world
from thunderctl.home import owner_id
from thunderctl.store.store import Store

DRIVER = Path(crash_driver.__file__)
SLEEP = "print('up'); import time; time.sleep(60)"


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    """The machines are this host's own unless a test says otherwise."""
    monkeypatch.delenv("VAST_URL", raising=False)
    monkeypatch.delenv("RUNPOD_URL", raising=False)
    monkeypatch.delenv("SSH_HOSTS", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    with Store() as opened:
        yield opened


@pytest.fixture
def vast(monkeypatch):
    """The driver and the test rent from a Vast.ai: a sample, as the matrix kills at every point in process."""
    with vast_world(*(bundle(n, usd=0.01, storage_cost=0.0) for n in (11, 12, 13)), clock=FakeClock()) as world:
        world.market.limited = False
        monkeypatch.setenv("VAST_URL", world.url)
        monkeypatch.setenv("VAST_API_KEY", OWNER_KEY)
        yield


@pytest.fixture
def runpod(monkeypatch):
    """The driver and the test rent from a RunPod."""
    with runpod_world(gpu_type("NVIDIA L40S", 48, 0.01, {"US-KS-2": 4})) as world:
        world.cloud.limited = False
        monkeypatch.setenv("RUNPOD_URL", world.url)
        monkeypatch.setenv("RUNPOD_API_KEY", RUNPOD_KEY)
        yield


@pytest.fixture
def aws():
    """The driver and the test rent from one AWS: moto's server, of this process."""
    with aws_world(quick=True):
        yield


@pytest.fixture
def own_hosts(tmp_path, monkeypatch):
    """The driver and the test rent two hosts of one's own."""
    with ssh_servers(tmp_path, 2) as hosts:
        monkeypatch.setenv("SSH_HOSTS", json.dumps([host.to_json() for host in hosts]))
        yield


def killed(command: str, crash_at: str) -> None:
    """Run the driver until it dies there."""
    done = subprocess.run(
        [sys.executable, str(DRIVER), command],
        env={**os.environ, "THUNDER_CRASH_AT": crash_at},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def states(store: Store) -> list[str]:
    return [str(row.state) for row in store.leases()]


async def listed() -> set[str]:
    """The leases that machines bear."""
    labels = [Label.parse(machine.label) for machine in (await provisioner().observe()).machines]
    return {label.lease_id for label in labels if label}


async def resumed(store: Store) -> list[str]:
    """The states after a resume; a second one must change nothing, and the store and the provider must agree."""
    again = []
    for _ in range(2):
        await resume(store, provisioner(), owner_id=owner_id(), deployment="d", pace=PACE)
        again.append(store.leases())
    assert again[0] == again[1]
    assert await listed() == {row.lease_id for row in again[0] if row.state.may_cost}
    assert usd_per_hour(again[0]) <= BUDGET
    return states(store)


@pytest.mark.parametrize(
    ("point", "at_death", "machines", "after"),
    [
        ("C0", [], 0, []),
        ("C1", ["sent"], 0, ["lost"]),
        ("C2", ["sent"], 1, ["created"]),
        ("C3", ["sent"], 1, ["created"]),
        ("C4", ["created"], 1, ["created"]),
        ("C5", ["created"], 1, ["created"]),
    ],
)
async def test_a_kill_while_leasing_loses_no_machine_and_up_goes_on(store, point, at_death, machines, after):
    await killed_while_leasing(store, point, at_death, machines, after)


@pytest.mark.usefixtures("vast")
async def test_a_kill_while_leasing_from_vast_loses_no_machine_and_up_goes_on(store):
    await killed_while_leasing(store, "C2", ["sent"], 1, ["created"])
    assert {row.provider for row in store.leases()} == {"vast"}


async def killed_while_leasing(store: Store, point: str, at_death: list[str], machines: int, after: list[str]) -> None:
    killed("up", point)
    assert (states(store), len(await listed())) == (at_death, machines)
    assert await resumed(store) == after
    with store.lock("d", "up"):  # taken over from the dead process
        await crash_driver.up(store)
    running = [row for row in store.leases() if row.state is LeaseState.CREATED]
    assert sorted(row.instance for row in running) == ["i0", "i1"]
    assert await listed() == {row.lease_id for row in running}


async def test_kills_while_machines_are_prepared_lose_none_and_the_next_one_goes_on(store, tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINE_PYTHON", engine_python_in(tmp_path / "engine"))
    await crash_driver.up(store)
    for point in ("B2", "B4"):
        await asyncio.to_thread(killed, "boot", point)
        assert await resumed(store) == ["created", "created"]
    with store.lock("d", "boot"):
        await crash_driver.boot(store)
    assert await resumed(store) == ["ready", "ready"]
    agents = [agent_of(Path(provisioner().folder(one))) for one in (await provisioner().observe()).machines]
    assert all(runs(pid) for pid in agents)
    await crash_driver.down(store)
    assert states(store) == ["gone", "gone"]
    assert not any(runs(pid) for pid in agents)


def agent_of(folder: Path) -> int:
    return int(json.loads((folder / "run" / "agent.pid.json").read_text())["pid"])


@pytest.mark.parametrize(
    ("point", "at_death", "machines"),
    [("C6", "deleting", 2), ("C6-after", "deleting", 1), ("C7", "deleting", 0)],
)
async def test_a_kill_while_releasing_is_finished_by_resume(store, started, point, at_death, machines):
    await crash_driver.up(store)
    [first, _] = (await provisioner().observe()).machines
    process = await started(provisioner().transport(first), SLEEP, recorded_as="agent")
    await asyncio.to_thread(killed, "down", point)
    assert states(store) == [at_death, at_death]
    assert len(await listed()) in (machines, machines - 1)  # asks go out side by side
    assert await resumed(store) == ["gone", "gone"]
    assert not runs(process.pid)
    assert not await listed()


@pytest.mark.usefixtures("vast")
async def test_a_kill_while_releasing_at_vast_is_finished_by_resume(store):
    await crash_driver.up(store)
    await asyncio.to_thread(killed, "down", "C6-after")
    assert [(row.provider, row.state) for row in store.leases()] == [("vast", LeaseState.DELETING)] * 2
    assert len(await listed()) <= 1
    assert await resumed(store) == ["gone", "gone"]
    assert not await listed()


@pytest.mark.usefixtures("vast")
async def test_a_kill_between_two_pages_of_a_listing_changes_nothing(store):
    await crash_driver.up(store)
    before = store.leases()
    await asyncio.to_thread(killed, "up", "C8")
    assert store.leases() == before
    assert await resumed(store) == ["created", "created"]


@pytest.mark.usefixtures("runpod")
async def test_kills_while_leasing_from_runpod_and_releasing_lose_no_machine(store):
    await killed_while_leasing(store, "C2", ["sent"], 1, ["created"])
    assert {row.provider for row in store.leases()} == {"runpod"}
    await asyncio.to_thread(killed, "down", "C6-after")
    assert await resumed(store) == ["gone", "gone"]
    assert not await listed()


@pytest.mark.usefixtures("aws")
async def test_a_kill_after_a_create_was_sent_to_aws_leaves_one_machine_which_bears_the_leases_token(store):
    await killed_while_leasing(store, "C2", ["sent"], 1, ["created"])
    rows = store.leases()
    assert {row.provider for row in rows} == {"aws"}
    assert {one.client_token for one in AwsCloud(FakeClock()).instances()} == {row.lease_id for row in rows}


@pytest.mark.usefixtures("own_hosts")
@pytest.mark.parametrize(
    ("point", "at_death", "machines", "after"),
    [("C1", ["sent"], 0, ["lost"]), ("C2", ["sent"], 1, ["created"]), ("C4", ["created"], 1, ["created"])],
)
async def test_a_kill_while_leasing_hosts_of_ones_own_loses_none(store, point, at_death, machines, after):
    await killed_while_leasing(store, point, at_death, machines, after)
    assert {row.provider for row in store.leases()} == {"ssh"}


@pytest.mark.usefixtures("own_hosts")
async def test_a_kill_while_releasing_hosts_of_ones_own_is_finished_by_resume(store):
    await crash_driver.up(store)
    await asyncio.to_thread(killed, "down", "C6-after")
    assert states(store) == ["deleting", "deleting"]
    assert await resumed(store) == ["gone", "gone"]
    assert not await listed()
