"""Where the store is, said without a password."""

import sys

import pytest

from planner.errors import SpecError
from thunderctl.store.address import read_address
from thunderctl.store.store import Store

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:hunter2@db:5433/thunder", "PostgreSQL at db:5433, database thunder"),
        ("postgres://ann:hunter2@db/thunder", "PostgreSQL at db, database thunder"),
        ("postgresql+psycopg://ann@db/thunder?password=hunter2", "PostgreSQL at db, database thunder"),
        ("postgresql://ann:hunter2@/thunder?host=/run/postgresql", "PostgreSQL at /run/postgresql, database thunder"),
        ("postgresql://ann:hunter2@/t?host=a:5432&host=b:5432", "PostgreSQL at a:5432, b:5432, database t"),
        ("postgresql://ann:hunter2@db", "PostgreSQL at db, database ann"),
        ("postgresql://", "PostgreSQL at this host, database (the default)"),
        ("sqlite:////home/ann/store.db", "SQLite at /home/ann/store.db"),
        ("sqlite://", "SQLite at :memory:"),
    ],
)
def test_an_address_is_shown_without_the_password(url, shown):
    address = read_address(url)
    assert str(address) == shown
    assert SECRET not in repr(address)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_means_psycopg_3(scheme):
    assert read_address(f"{scheme}://db/thunder").url.drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("hunter2", "it is no URL"),
        ("postgresql://ann:hunter2@db:five/thunder", "it is no URL"),
        ("postgresql://ann:is@hunter2@db/thunder", "an @ within its user or password"),
        ("postgresql+psycopg2://ann:hunter2@db/thunder", r"names postgresql\+psycopg2; expected sqlite or postgresql"),
        ("mysql://ann:hunter2@db/thunder", "names mysql"),
    ],
)
def test_what_can_not_be_used_is_refused_without_repeating_it(url, why):
    with pytest.raises(SpecError, match=why) as caught:
        Store(url)
    assert SECRET not in f"{caught.value.message} {caught.value.hint}"
    assert "%40" in caught.value.hint


def test_a_missing_driver_is_one_error_with_its_mend(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SpecError, match="driver is not installed") as caught:
        Store("postgresql://db/thunder")
    assert caught.value.hint == "In a checkout of thunderctl: pip install '.[postgres]'"
