"""A store that can't be written: one clear message, and nothing asked of a provider that is not on record."""

import os
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from planner.errors import ThunderError
from provisioners.leases.acquire import acquire
from provisioners.leases.journal import LeaseState
from provisioners.leases.release import resume
from tests.provisioners.fakes import OURS, FakeClock, FakeCloud, instance, intent
from thunderctl.store import sqlite
from thunderctl.store.store import Store


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cloud(clock) -> FakeCloud:
    return FakeCloud(clock)


async def lease(store: Store, cloud: FakeCloud, name: str = "i0"):
    return await acquire(store, cloud, intent(instance(name)), budget_usd_per_hour=9.0, now=cloud.clock)


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder / 'store.db'}"


@contextmanager
def mounted(folder: Path, kind: str):
    """A file system of its own there: `size=...` for one of that size."""
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", kind, "tmpfs", str(folder)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"No file system can be mounted here: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def full(folder: Path):
    """The disk is full for the block."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file, suppress(OSError):
        while True:
            os.write(file.fileno(), b"x" * 4096)
    try:
        yield
    finally:
        ballast.unlink()


async def test_on_a_full_disk_nothing_is_asked_for_and_later_it_goes_on(tmp_path, cloud):
    disk = tmp_path / "disk"
    with mounted(disk, "size=1m"), Store(url_in(disk)) as store:
        with full(disk), pytest.raises(ThunderError, match=r"can't be used: .* Its disk is full") as caught:
            await lease(store, cloud)
        assert "Make room" in caught.value.hint
        assert not cloud.asked
        await lease(store, cloud)
        assert [row.state for row in store.leases()] == [LeaseState.CREATED]


async def test_a_disk_that_fills_up_while_a_machine_is_made_loses_it_not(tmp_path, cloud, clock, monkeypatch):
    disk = tmp_path / "disk"
    with mounted(disk, "size=1m"), Store(url_in(disk)) as store:
        make = cloud.lease

        async def and_fill_the_disk(request):
            machine = await make(request)
            filling.enter_context(full(disk))
            return machine

        with ExitStack() as filling:
            monkeypatch.setattr(cloud, "lease", and_fill_the_disk)
            with pytest.raises(ThunderError, match="Its disk is full"):
                await lease(store, cloud)
            assert [row.state for row in store.leases()] == [LeaseState.SENT]  # it counts as costing
        await resume(store, cloud, **OURS, pace=clock.pace())
        [row] = store.leases()
        assert (row.state, row.provider_id) == (LeaseState.CREATED, "m1")


async def test_a_store_on_a_read_only_file_system_says_so(tmp_path, cloud):
    disk = tmp_path / "disk"
    with mounted(disk, "size=1m"):
        Store(url_in(disk)).close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(ThunderError, match="It can't be written"), Store(url_in(disk)) as store:
            await lease(store, cloud)
        assert not cloud.asked


def test_a_store_that_is_to_be_made_where_nothing_can_be_says_so(tmp_path):
    with pytest.raises(ThunderError, match="It can't be written"):
        Store(url_in(tmp_path / "missing"))


async def test_a_store_that_another_process_holds_says_so(tmp_path, cloud, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 50)
    with Store(url_in(tmp_path)) as store:
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ThunderError, match="Another process has held it for too long"):
            await lease(store, cloud)
        assert not cloud.asked
        other.execute("ROLLBACK")
        other.close()
        await lease(store, cloud)


LIMITED = """
import asyncio, resource, sys
from tests.thunderctl.store.test_store_failures import FakeClock, FakeCloud, Store, ThunderError, lease

cloud = FakeCloud(FakeClock())
with Store(sys.argv[1]) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))
    try:
        asyncio.run(lease(store, cloud))
    except ThunderError as error:
        print(error.message, len(cloud.asked))
"""


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, url_in(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "Its disk is full. 0" in done.stdout
