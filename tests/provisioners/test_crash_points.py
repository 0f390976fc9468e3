"""`kill -9` at every named point of the lease protocol, in a real process, then the same command again."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from provisioners.leases.journal import LeaseState
from provisioners.leases.ledger import usd_per_hour
from provisioners.leases.release import resume
from tests.provisioners import crash_driver
from tests.provisioners.conftest import runs
from tests.provisioners.crash_driver import BUDGET, PACE, provisioner
from thunderctl.home import owner_id
from thunderctl.store.store import Store

DRIVER = Path(crash_driver.__file__)
SLEEP = "print('up'); import time; time.sleep(60)"


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    with Store() as opened:
        yield opened


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
    return {machine.provider_id for machine in (await provisioner().observe()).machines}


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
    killed("up", point)
    assert (states(store), len(await listed())) == (at_death, machines)
    assert await resumed(store) == after
    with store.lock("d", "up"):  # taken over from the dead process
        await crash_driver.up(store)
    running = [row for row in store.leases() if row.state is LeaseState.CREATED]
    assert sorted(row.instance for row in running) == ["i0", "i1"]
    assert await listed() == {row.lease_id for row in running}


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
