"""What PostgreSQL has to be told to be as good a store as SQLite: durable, one writer at a time, one clock."""

import threading
import time
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from thunderctl.store.locks import LOCK_S
from thunderctl.store.store import Store
from thunderctl.store.tables import LockTable

DAY_S = 86_400.0


@pytest.fixture
def url(postgres) -> str:
    return postgres.new_store()


@pytest.fixture
def store(url):
    with Store(url) as opened:
        yield opened


def shows(store: Store, setting: str) -> str:
    with store._writing.begin() as connection:
        return str(connection.execute(text(f"SHOW {setting}")).scalar())


@pytest.mark.parametrize(
    ("set_to", "is_then"), [("off", "on"), ("on", "on"), ("remote_apply", "remote_apply"), ("local", "local")]
)
def test_a_write_is_on_the_disk_whatever_the_server_is_set_to(postgres, set_to, is_then):
    name = postgres.new_database("migrated")
    postgres.execute(f"ALTER DATABASE {name} SET synchronous_commit = {set_to}")
    with Store(postgres.url(name)) as store:
        assert shows(store, "synchronous_commit") == is_then


def test_writers_see_what_those_before_them_wrote_whatever_the_server_is_set_to(postgres):
    name = postgres.new_database("migrated")
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    with Store(postgres.url(name)) as store:
        assert shows(store, "transaction_isolation") == "read committed"


def test_waits_have_an_end(store):
    limits = [shows(store, name) for name in ("lock_timeout", "statement_timeout", "tcp_keepalives_idle")]
    assert limits[:2] == ["10s", "15s"]


def test_a_writer_waits_for_the_one_before_and_then_sees_what_it_did(store, url):
    def second():
        with Store(url) as other:
            other.save_plan("p", "d", {"by": "the second"})

    with store._write() as session:
        session.connection().exec_driver_sql("INSERT INTO plans VALUES ('p', 'd', 1.0, '{\"by\": \"the first\"}')")
        thread = threading.Thread(target=second)
        thread.start()
        until_somebody_waits(store)
    thread.join()
    assert store.plan("p", "d").document == {"by": "the first"}


def until_somebody_waits(store: Store) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with store._engine.connect() as connection:
            if connection.execute(waiting).scalar():
                return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


def test_locks_go_by_the_servers_clock_however_wrong_this_hosts_is(store, monkeypatch):
    now = datetime.now(UTC).timestamp()
    held = LockTable(
        deployment="d",
        user="ann@elsewhere",
        host="elsewhere",
        pid=1,
        started_at=0.0,
        message="up",
        taken_at=now,
        expires_at=now + LOCK_S,
    )
    with store._write() as session:
        session.add(held)
    monkeypatch.setattr(time, "time", lambda: now + DAY_S)
    assert store.holder("d")
    with store.lock("other", "up") as mine:
        assert mine.holder.taken_at == pytest.approx(now, abs=60)
        mine.renew()
        assert store.holder("other").expires_at == pytest.approx(now + LOCK_S, abs=60)
