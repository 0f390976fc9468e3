"""A store copied into another: everything but locks, or nothing."""

import json
from decimal import Decimal

import pytest

from planner.errors import Refused, SpecError
from provisioners.leases.transfers import TransferReading
from tests.thunderctl.store.test_store import row
from thunderctl.cli.main import main
from thunderctl.store.copying import copy_store
from thunderctl.store.store import Store
from thunderctl.store.values import Deployment, DeploymentState


@pytest.fixture
def old(tmp_path):
    """A store with something of everything."""
    with Store(f"sqlite:///{tmp_path / 'old.db'}") as store:
        store.save_deployment(Deployment("d", DeploymentState.SERVING, 3, "p", "http://x", 1.5, {"budget": {"b": 1}}))
        store.save_plan("p", "d", {"replicas": [1, "é"]})
        store.add_lease(row("l0", live_usd_per_hour=1 / 3, reason="why").repriced(0.1 + 0.2, 5.0))
        store.add_lease(row("l1", deployment="other"))
        store.record_transfers([TransferReading("d", "a", "b", 0.1 + 0.2, 600.0, 2**40, Decimal("0.02"))])
        for number in range(3):
            store.record("d", "alert", f"e{number}", figure=number / 3)
        yield store


def everything(store: Store) -> list[object]:
    events = [(one.at, one.deployment, one.kind, one.message, one.detail) for one in store.events()]
    return [store.deployments(), store.plans("d"), store.leases(), store.transfers(), events]


def test_all_is_copied_and_the_copy_goes_on(old, store_url):
    with Store(store_url) as new:
        counts = copy_store(old, new)
        assert counts == {"deployments": 1, "events": 3, "leases": 2, "plans": 1, "transfers": 1}
        assert everything(new) == everything(old)
        new.record("d", "alert", "e3")
        assert [event.message for event in new.events()] == ["e0", "e1", "e2", "e3"]


def test_a_store_that_somebody_is_at_work_with_is_not_copied(old, store_url):
    with Store(store_url) as new, old.lock("d#controller", "the controller leads"):
        with pytest.raises(Refused, match="the controller leads"):
            copy_store(old, new)
        assert new.deployments() == ()


def test_nothing_is_copied_over_what_is_there(old, store_url):
    with Store(store_url) as new:
        new.record("d", "alert", "here first")
        with pytest.raises(SpecError, match="There are events in the store to copy to"):
            copy_store(old, new)
        assert (new.leases(), len(new.events())) == ((), 1)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["copy-store", *arguments, "--json"])
    return int(ended.value.code or 0)


def test_the_command_copies_the_homes_store(old, store_url, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    monkeypatch.setenv("THUNDER_DATABASE_URL", store_url if "postgres" in store_url else f"sqlite:///{tmp_path}/new.db")
    assert run() == 2
    assert "There is no store at" in capsys.readouterr().out
    assert run(str(tmp_path / "old.db")) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["rows"]["leases"]) == ("thunder.copy-store/v1", 2)
    with Store() as new:
        assert everything(new) == everything(old)


def test_a_store_is_not_copied_into_itself(old, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("THUNDER_DATABASE_URL", str(old.address.url))
    assert run(str(tmp_path / "old.db")) == 2
    assert "is the store in use" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b'{"schema": 1}', b"SQLite format 2"])
def test_a_file_that_is_no_store_is_the_callers_fault_and_stays_as_it_is(tmp_path, monkeypatch, capsys, content):
    path = tmp_path / "wrong"
    path.write_bytes(content)
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    assert run(str(path)) == 2
    assert "is not a database of SQLite" in capsys.readouterr().out
    assert path.read_bytes() == content
