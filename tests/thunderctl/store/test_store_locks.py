"""One writer a deployment."""

import asyncio
import os
import signal
import subprocess
import sys

import psutil
import pytest
from sqlmodel import Session

from planner.errors import Refused
from thunderctl.store import locks
from thunderctl.store.locks import BRIEF_S, LOCK_S
from thunderctl.store.store import Store
from thunderctl.store.tables import LockTable
from thunderctl.store.this_host import this_host


class FakeClock:
    at = 1_790_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(store_url, clock):
    with Store(store_url, now=clock) as opened:
        yield opened


def held_by(store: Store, *, host: str, pid: int, started_at: float, taken_at: float) -> None:
    """Put somebody's lock into the table."""
    with Session(store._writing) as session, session.begin():
        session.merge(
            LockTable(
                deployment="d",
                user=f"ann@{host}",
                host=host,
                pid=pid,
                started_at=started_at,
                message="up",
                taken_at=taken_at,
                expires_at=taken_at + LOCK_S,
            )
        )


def test_a_lock_names_its_holder_and_is_given_back(store):
    with store.lock("d", "up"):
        holder = store.holder("d")
        assert holder
        assert (holder.pid, holder.message) == (os.getpid(), "up")
    assert store.holder("d") is None


def test_a_held_lock_is_refused_saying_who_since_when_and_why(store):
    refusal = rf"d is being changed by .*@.* \(process {os.getpid()}\) since 2026-09-21 .* UTC: up"
    with store.lock("d", "up"), pytest.raises(Refused, match=refusal), store.lock("d", "down"):
        pass
    with store.lock("d", "down"):
        pass


def test_deployments_are_locked_apart(store):
    with store.lock("d", "up"), store.lock("other", "up"):
        assert store.holder("d") != store.holder("other")


def test_an_error_gives_the_lock_back(store):
    with pytest.raises(KeyError), store.lock("d", "up"):
        raise KeyError
    assert store.holder("d") is None


TAKING = """
import sys
from planner.errors import Refused
from thunderctl.store.store import Store

with Store(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        with store.lock("d", "up"):
            print("held", flush=True)
            sys.stdin.read()
    except Refused:
        print("refused", flush=True)
"""


def test_of_two_processes_that_take_a_lock_at_once_one_has_it(store, store_url):
    command = [sys.executable, "-c", TAKING, store_url]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.stdout.readline() for process in both] == ["ready\n", "ready\n"]
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert sorted(process.stdout.readline() for process in both) == ["held\n", "refused\n"]
    for process in both:
        process.communicate(timeout=60)
    assert store.holder("d") is None


def test_a_killed_process_loses_its_lock(store, store_url):
    code = (
        "import os, signal; from thunderctl.store.store import Store\n"
        f"with Store({store_url!r}) as store, store.lock('d', 'up'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    with store.lock("d", "down"):
        assert store.holder("d").pid == os.getpid()


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_dead_process_that_nobody_has_reaped_loses_its_lock(store, store_url):
    code = (
        "import os, signal; from thunderctl.store.store import Store\n"
        f"with Store({store_url!r}) as store, store.lock('d', 'up'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    with store.lock("d", "down"):
        pass
    assert child.wait() == -signal.SIGKILL


def test_a_pid_that_was_used_again_does_not_keep_a_lock(store, clock):
    me = psutil.Process()
    held_by(store, host=this_host(), pid=me.pid, started_at=me.create_time() - 60, taken_at=clock.at)
    with store.lock("d", "down"):
        pass


def test_a_living_process_of_this_host_keeps_its_lock_however_late(store, clock):
    with store.lock("d", "up"):
        clock.at += 10 * LOCK_S
        with pytest.raises(Refused), store.lock("d", "down"):
            pass


def test_another_hosts_lock_is_taken_over_only_once_it_has_expired(store, clock):
    held_by(store, host="elsewhere", pid=1, started_at=0.0, taken_at=clock.at)
    clock.at += LOCK_S - BRIEF_S - 1
    with pytest.raises(Refused, match="ann@elsewhere"), store.lock("d", "down"):
        pass
    clock.at += BRIEF_S + 1
    with store.lock("d", "down"):
        pass


def test_renewing_puts_the_expiry_off(store, clock):
    with store.lock("d", "up") as held:
        clock.at += LOCK_S / 2
        held.renew()
        assert store.holder("d").expires_at == clock.at + LOCK_S


def test_who_lost_the_lock_is_told_when_renewing_and_takes_nothing_back(store, clock):
    with store.lock("d", "up") as held:
        held_by(store, host="elsewhere", pid=1, started_at=0.0, taken_at=clock.at)
        with pytest.raises(Refused, match="taken over"):
            held.renew()
    assert store.holder("d").host == "elsewhere"


async def test_work_that_outlasts_the_lock_is_done_under_it(store, clock, monkeypatch):
    monkeypatch.setattr(locks, "RENEWALS", 100_000)
    with store.lock("d", "up") as held:

        async def work():
            clock.at += LOCK_S - 1
            async with asyncio.timeout(30):
                while store.holder("d").expires_at < clock.at + LOCK_S:
                    await asyncio.sleep(0.005)
            return "done"

        assert await held.during(work()) == "done"


async def test_work_whose_lock_was_taken_over_is_cut_off(store, clock, monkeypatch):
    monkeypatch.setattr(locks, "RENEWALS", 100_000)
    ended = []
    with store.lock("d", "up") as held:

        async def work():
            held_by(store, host="elsewhere", pid=1, started_at=0.0, taken_at=clock.at)
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cleaned up")

        with pytest.raises(Refused, match="taken over"):
            await held.during(work())
    assert ended == ["cleaned up"]


async def test_what_fails_under_a_lock_fails(store):
    async def work():
        raise KeyError

    with store.lock("d", "up") as held, pytest.raises(KeyError):
        await held.during(work())


def test_a_user_whom_the_host_has_no_name_for_may_hold_a_lock(store, monkeypatch):
    """As containers have it, which run as whatever number they are told."""

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1000710000")

    monkeypatch.setattr("getpass.getuser", nobody)
    with store.lock("d", "up") as held:
        assert held.holder.user.startswith(f"{os.getuid()}@")
