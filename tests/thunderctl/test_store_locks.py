"""One writer a deployment."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
from sqlmodel import Session

from planner.errors import Refused
from thunderctl.store.locks import LOCK_S
from thunderctl.store.store import Store
from thunderctl.store.tables import LockTable


class FakeClock:
    at = 1_790_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def store(url, clock):
    with Store(url, now=clock) as opened:
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


def test_a_killed_process_loses_its_lock(store, url):
    code = (
        "import os, signal; from thunderctl.store.store import Store\n"
        f"with Store({url!r}) as store, store.lock('d', 'up'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    with store.lock("d", "down"):
        assert store.holder("d").pid == os.getpid()


def test_a_pid_that_was_used_again_does_not_keep_a_lock(store, clock):
    me = psutil.Process()
    held_by(store, host=os.uname().nodename, pid=me.pid, started_at=me.create_time() - 60, taken_at=clock.at)
    with store.lock("d", "down"):
        pass


def test_a_living_process_of_this_host_keeps_its_lock_however_late(store, clock):
    with store.lock("d", "up"):
        clock.at += 10 * LOCK_S
        with pytest.raises(Refused), store.lock("d", "down"):
            pass


def test_another_hosts_lock_is_taken_over_only_once_it_has_expired(store, clock):
    held_by(store, host="elsewhere", pid=1, started_at=0.0, taken_at=clock.at)
    clock.at += LOCK_S - 1
    with pytest.raises(Refused, match="ann@elsewhere"), store.lock("d", "down"):
        pass
    clock.at += 1
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
