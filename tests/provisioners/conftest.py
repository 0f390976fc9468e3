"""A provider with faults; machines of the local provider, and the processes that tests start on them."""

import asyncio
import os
import signal
import sys
import uuid
from contextlib import suppress

import psutil
import pytest

from provisioners.base import Label, LeaseRequest, Machine
from provisioners.local.offers import OFFER_ID
from provisioners.local.provisioner import LocalProvisioner
from tests.provisioners.fakes import GPU, OWNER, FakeClock, FakeCloud, MemoryJournal


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def cloud(clock: FakeClock) -> FakeCloud:
    return FakeCloud(clock)


@pytest.fixture
def local(tmp_path) -> LocalProvisioner:
    return LocalProvisioner(tmp_path / "local", gpu=GPU, slots=4, grace_s=2.0)


@pytest.fixture
async def machine(local) -> Machine:
    return await lease_local(local)


async def lease_local(local: LocalProvisioner) -> Machine:
    return await local.lease(LeaseRequest(Label(OWNER, "d", str(uuid.uuid4())), OFFER_ID, 0.02))


@pytest.fixture
def started():
    """Start detached Python programs; whatever of them is alive at the end of the test is killed."""
    pids: list[int] = []

    async def start(transport, program: str, *, recorded_as: str = "", environment: str = "") -> psutil.Process:
        """Run `program` in a session of its own on a machine, and record it in run/ if asked to."""
        record = (
            "import json, os, psutil; from pathlib import Path; Path('run').mkdir(exist_ok=True); "
            f"Path('run/{recorded_as}.pid.json').write_text(json.dumps("
            "{'pid': os.getpid(), 'started_at': psutil.Process().create_time(), 'host': '127.0.0.1', 'port': 1})); "
        )
        await transport.put("program.py", ((record if recorded_as else "") + program).encode(), 0o600)
        line = f"{environment} setsid {sys.executable} -u program.py >out.txt 2>&1 </dev/null & echo $!"
        done = await transport.run(line, timeout_s=10)
        pids.append(int(done.stdout))
        for _ in range(200):
            if b"up" in await transport.get("out.txt"):
                return psutil.Process(pids[-1])
            await asyncio.sleep(0.02)
        raise AssertionError((await transport.get("out.txt")).decode())

    yield start
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
