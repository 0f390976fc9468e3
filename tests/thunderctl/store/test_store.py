"""The store: its schema, what it keeps, and that it refuses stale writes."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from decimal import Decimal

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from sqlmodel import SQLModel

from planner.errors import Incomplete, SpecError, ThunderError
from provisioners.leases.journal import Journal, LeaseRow, LeaseState
from provisioners.leases.transfers import TransferReading
from tests.provisioners.fakes import MemoryJournal
from thunderctl.store import database, migrate
from thunderctl.store.address import read_address
from thunderctl.store.sqlite import open_sqlite
from thunderctl.store.store import Store
from thunderctl.store.values import Deployment, DeploymentState


class FakeClock:
    at = 1000.0

    def __call__(self) -> float:
        self.at += 1.0
        return self.at


@pytest.fixture(autouse=True)
def migrated_each_time(monkeypatch):
    """Not by a copy, as in the other files: it is what is tested here."""
    monkeypatch.setattr(database, "open_sqlite", open_sqlite)


@pytest.fixture
def sqlite_url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def store(store_url):
    with Store(store_url, now=FakeClock()) as opened:
        yield opened


def row(lease_id: str = "l0", **changes) -> LeaseRow:
    values = {"owner_id": "o", "deployment": "d", "plan_id": "p", "instance": "i0", "provider": "local"}
    values |= {"region": "local", "offer_id": "slot", "label": f"thunder:o:d:{lease_id}", "quoted_usd_per_hour": 0.02}
    return LeaseRow(**{"lease_id": lease_id, "state": LeaseState.SENT, "created_at": 1.0, **values, **changes})


# Opening.


def test_an_empty_database_is_migrated_to_the_schema_of_the_tables(empty_url):
    with Store(empty_url) as store, store._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []


def test_the_newest_migration_is_the_one_the_code_expects():
    config = Config()
    config.set_main_option("script_location", "thunderctl/store/migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == migrate.HEAD


def test_sqlite_keeps_a_write_ahead_log_and_syncs_fully_in_a_private_file(sqlite_url, tmp_path):
    with Store(sqlite_url) as store, store._engine.connect() as connection:
        found = [connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")]
        modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert (found, modes) == (["wal", 2], {0o600})


def test_a_store_is_opened_without_alembic_once_it_is_current(sqlite_url):
    Store(sqlite_url).close()
    opened = f"import sys; from thunderctl.store.store import Store; Store({sqlite_url!r}).close()"
    code = f"{opened}; print('alembic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_processes_that_open_a_fresh_store_together_all_succeed(empty_url):
    code = f"from thunderctl.store.store import Store; Store({empty_url!r}).close()"
    running = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=60)[1] for process in running] == ["", ""]
    assert [process.returncode for process in running] == [0, 0]


def test_a_store_of_a_newer_version_is_refused(store, store_url):
    with store._writing.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SpecError, match="of a version this thunderctl does not know"):
        Store(store_url)


def test_a_store_that_can_not_be_used_says_so(tmp_path):
    (tmp_path / "store.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ThunderError, match="can't be used: file is not a database"):
        Store(f"sqlite:///{tmp_path / 'store.db'}")


def test_amounts_stored_as_floats_stay_readable_to_the_last_digit(empty_url):
    amounts = (0.1 + 0.2, 1 / 3)
    old_store(empty_url, amounts)
    with Store(empty_url) as store:
        [found] = store.leases()
        assert (found.quoted_usd_per_hour, found.live_usd_per_hour, found.prices) == (*amounts, ())
        store.update_lease(found.repriced(0.5, 9.0), was=found.state)
        assert [price.usd_per_hour for price in store.leases()[0].prices] == [Decimal(repr(1 / 3)), Decimal("0.5")]
        with store._engine.connect() as connection:
            stored = connection.execute(text("SELECT quoted_usd_per_hour FROM leases")).scalar()
        assert stored == "0.30000000000000004"


def old_store(url: str, amounts: tuple[float, float]) -> None:
    """A store as the first version left it, with one lease."""
    engine = create_engine(read_address(url).url)
    config = Config()
    config.set_main_option("script_location", "thunderctl/store/migrations")
    values = {**asdict(row(provider_id="m")), "state": "sent"} | dict(
        zip(("quoted_usd_per_hour", "live_usd_per_hour"), amounts, strict=True)
    )
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        names = [column["name"] for column in inspect(connection).get_columns("leases")]
        connection.execute(text(f"INSERT INTO leases ({', '.join(names)}) VALUES (:{', :'.join(names)})"), values)
    engine.dispose()


# What moved between machines.


def reading(at: float, size: int, **changes) -> TransferReading:
    return replace(TransferReading("d", "a", "b", 1.0, at, size, Decimal("0.02")), **changes)


def test_the_last_reading_of_each_bucket_is_kept(store):
    store.record_transfers([reading(0.0, 5)])
    store.record_transfers([reading(0.0, 7), reading(600.0, 9, counter=2.0)])
    store.record_transfers([reading(600.0, 12)])
    assert store.transfers("d") == (reading(0.0, 7), reading(600.0, 12), reading(600.0, 9, counter=2.0))
    assert store.transfers("other") == ()


def test_a_reading_that_is_no_news_is_not_written(store):
    store.record_transfers([reading(0.0, 7)])
    store.record_transfers([reading(600.0, 7), reading(600.0, 0, counter=3.0)])
    assert store.transfers() == (reading(0.0, 7),)


def test_a_price_that_was_known_stays(store):
    store.record_transfers([reading(0.0, 5)])
    store.record_transfers([reading(0.0, 7, usd_per_gb=None)])
    assert store.transfers() == (reading(0.0, 7),)


# Leases: what every Journal keeps.


@pytest.fixture(params=["sqlite", "postgres", "memory"])
def journal(request, sqlite_url) -> Iterator[Journal]:
    if request.param == "memory":
        yield MemoryJournal()
        return
    url = sqlite_url if request.param == "sqlite" else request.getfixturevalue("postgres").new_store()
    with Store(url) as opened:
        yield opened


def test_rows_come_back_as_they_were_written(journal):
    full = row(
        sent_at=2.0, ended_at=3.0, expires_at=4.0, provider_id="m", live_usd_per_hour=0.03, attempts=2, reason="why"
    ).repriced(1 / 3, 5.0)
    assert len(full.prices) == 2
    journal.add_lease(full)
    assert journal.leases() == (full,)


def test_rows_are_read_by_deployment_oldest_first(journal):
    for lease_id, deployment, created_at in (("l0", "d", 1.0), ("l1", "other", 2.0), ("l2", "d", 3.0)):
        journal.add_lease(row(lease_id, deployment=deployment, created_at=created_at))
    assert [lease.lease_id for lease in journal.leases()] == ["l0", "l1", "l2"]
    assert [lease.lease_id for lease in journal.leases("d")] == ["l0", "l2"]


def test_a_changed_row_replaces_the_stored_one(journal):
    journal.add_lease(row())
    created = replace(row().moved(LeaseState.CREATED), provider_id="m", live_usd_per_hour=0.03)
    journal.update_lease(created, was=LeaseState.SENT)
    assert journal.leases() == (created,)


def test_a_write_from_a_stale_view_changes_nothing(journal):
    journal.add_lease(row())
    lost = row().moved(LeaseState.LOST, reason="elsewhere")
    journal.update_lease(lost, was=LeaseState.SENT)
    with pytest.raises(Incomplete, match="l0 is lost in the store; expected sent"):
        journal.update_lease(row().moved(LeaseState.CREATED), was=LeaseState.SENT)
    assert journal.leases() == (lost,)


def test_a_lease_is_seen_by_others_the_moment_it_is_added(store, store_url):
    with Store(store_url) as other:
        store.add_lease(row())
        assert other.leases() == (row(),)


def test_what_others_said_is_kept_without_what_no_text_can_hold(store):
    store.record("d", "alert", "its agent said\0 nonsense")
    store.add_lease(row(reason="a\0b"))
    assert [event.message for event in store.events()] == ["its agent said nonsense"]
    assert store.leases()[0].reason == "ab"


# Deployments, plans, events.


def test_a_deployment_is_absent_until_it_is_saved(store):
    assert store.deployment("d") == Deployment("d", DeploymentState.ABSENT)
    first = store.save_deployment(Deployment("d", DeploymentState.STARTING, spec={"budget": {"usd_per_hour": 1}}))
    later = store.save_deployment(replace(first, state=DeploymentState.SERVING, epoch=1, plan_id="p"))
    assert store.deployment("d") == later
    assert (later.created_at, later.state) == (first.created_at, DeploymentState.SERVING)
    assert later.updated_at > first.updated_at
    assert store.deployments() == (later,)


def test_plans_are_kept_as_they_are_newest_first(store):
    store.save_plan("p0", "d", {"replicas": [1]})
    store.save_plan("p1", "d", {})
    store.save_plan("p0", "d", {"replicas": "changed"})
    assert [plan.plan_id for plan in store.plans("d")] == ["p1", "p0"]
    assert store.plan("p0", "d").document == {"replicas": [1]}
    with pytest.raises(SpecError, match="no plan p2"):
        store.plan("p2", "d")


def test_the_latest_events_are_read_oldest_first(store):
    for number in range(5):
        store.record("d", "leased", f"i{number}", usd_per_hour=number)
    store.record("other", "leased", "j0")
    assert [event.message for event in store.events("d", limit=2)] == ["i3", "i4"]
    assert store.events("d")[0].detail == {"usd_per_hour": 0}
    assert len(store.events()) == 6
