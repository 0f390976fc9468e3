"""A store whose server says no, is away, or goes away: one clear message, nothing half-done, and no password in it."""

import shutil
import signal
import traceback
from contextlib import ExitStack

import psycopg
import pytest

from planner.errors import Incomplete, ThunderError
from provisioners.leases.journal import LeaseState
from tests.provisioners.fakes import FakeClock, FakeCloud
from tests.thunderctl.postgres import PASSWORD, WHOSE, PostgresServer
from tests.thunderctl.store.test_store import row
from tests.thunderctl.store.test_store_failures import full, lease, mounted
from thunderctl.doctor.deployments import store_checks
from thunderctl.store import postgres as postgres_store
from thunderctl.store.store import Store


@pytest.fixture
def url(postgres) -> str:
    return postgres.new_store()


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud(FakeClock())


def fails(url: str) -> ThunderError:
    """What a write to the store there is told, which has its password nowhere."""
    with pytest.raises(ThunderError) as caught, Store(url) as store:
        store.record("d", "alert", "x")
    error = caught.value
    told = f"{error.message} {error.hint} {''.join(traceback.format_exception(error))}"
    assert PASSWORD not in told
    assert error.message.count("\n") == 0
    return error


def test_a_wrong_password_is_a_user_not_let_in(postgres):
    error = fails(postgres.by_password("postgres", password=f"not-{PASSWORD}"))
    assert 'password authentication failed for user "admin". Its server does not let this user in.' in error.message
    assert "user and password" in error.hint


def test_a_database_that_is_not_there_is_named(postgres):
    error = fails(postgres.by_password("nowhere"))
    assert 'database "nowhere" does not exist. Its server has no such database.' in error.message
    assert "createdb" in error.hint


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ann:{PASSWORD}@127.0.0.1:1/thunder",
        f"postgresql://ann:{PASSWORD}@/thunder?host=/nowhere",
        f"postgresql://ann:{PASSWORD}@nowhere.invalid/thunder",
        f"postgresql://ann:{PASSWORD}@127.0.0.1/thunder?sslmode=surely",
    ],
)
def test_a_server_that_is_not_there_can_not_be_reached(url):
    assert fails(url).message.endswith("Its server can't be reached.")


def test_a_full_server_takes_no_more(postgres):
    postgres.execute("CREATE ROLE one LOGIN CONNECTION LIMIT 0 PASSWORD 'one'")
    assert fails(postgres.by_password("migrated", "one", "one")).message.endswith("takes no more connections.")


def test_a_user_without_rights_is_told_who_should_own_the_database(postgres):
    postgres.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    error = fails(postgres.by_password(postgres.new_database(), "guest", "guest"))
    assert "permission denied for schema public. Its user may not do that." in error.message
    assert "OWNER" in error.hint


async def test_a_store_that_may_only_be_read_is_read(postgres, cloud):
    name = postgres.new_database("migrated")
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with Store(postgres.url(name)) as store:
        assert store.events() == ()
        with pytest.raises(ThunderError, match="It can't be written"):
            await lease(store, cloud)
    assert not cloud.asked


async def test_on_a_full_disk_nothing_is_asked_for_and_later_it_goes_on(postgres, cloud):
    disk = postgres.folder / "disk"
    with mounted(disk, "size=32m"):
        shutil.chown(disk, WHOSE, WHOSE)
        postgres.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        name = postgres.new_database("migrated", tablespace="small")
        with Store(postgres.url(name)) as store:
            with full(disk), pytest.raises(ThunderError, match="Its disk is full") as caught:
                await lease(store, cloud)
            assert "Make room" in caught.value.hint
            assert not cloud.asked
            await lease(store, cloud)
            assert [row.state for row in store.leases()] == [LeaseState.CREATED]
        postgres.execute(f"DROP DATABASE {name}", "DROP TABLESPACE small")


async def test_a_store_that_another_process_holds_says_so(url, cloud, monkeypatch):
    monkeypatch.setattr(postgres_store, "WAIT_MS", 50)
    with Store(url) as store:
        with psycopg.connect(url) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", (postgres_store.WRITERS,))
            with pytest.raises(ThunderError, match="Another process has held it for too long"):
                await lease(store, cloud)
            assert not cloud.asked
        await lease(store, cloud)


def test_a_server_that_was_started_again_between_two_calls_is_not_noticed(postgres, url):
    with Store(url) as store:
        store.record("d", "alert", "before")
        with postgres.stopped():
            pass
        store.record("d", "alert", "after")
        assert [event.message for event in store.events()] == ["before", "after"]


def test_what_was_written_outlives_a_crash(postgres, url):
    with Store(url) as store:
        store.record("d", "alert", "before")
        with postgres.stopped(signal.SIGQUIT):
            pass
        assert [event.message for event in store.events()] == ["before"]


def test_a_server_that_goes_in_the_midst_of_a_write_leaves_nothing_of_it(postgres: PostgresServer, url):
    with Store(url) as store:
        store.add_lease(row())
        with ExitStack() as away:

            def write():
                with store._write() as session:
                    session.connection().exec_driver_sql("UPDATE leases SET state = 'created'")
                    session.connection().exec_driver_sql("DELETE FROM deployments")
                    away.enter_context(postgres.stopped())

            with pytest.raises(ThunderError, match="whole, or not at all"):
                write()
            with pytest.raises(ThunderError, match="can't be reached"):
                store.leases()
        assert store.leases() == (row(),)
        with pytest.raises(Incomplete):
            store.update_lease(row(), was=LeaseState.CREATED)


def test_doctor_says_which_database_there_is_and_whether_it_answers(postgres, monkeypatch):
    name = postgres.new_database("migrated")
    monkeypatch.setenv("THUNDER_DATABASE_URL", postgres.by_password(name))
    where = f"127.0.0.1:{postgres.port}, database {name}"
    with Store() as store:
        [check] = [check for check in store_checks(store) if check.name == "store"]
    assert check.detail.startswith("PostgreSQL 1")
    assert check.detail.endswith(f" at {where} answers: 0 deployments")
    with postgres.stopped():
        assert f"PostgreSQL at {where}" in fails(postgres.by_password(name)).message
