"""The databases that a store can be in: what is tested of one is tested of both."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest


@pytest.fixture(scope="session", autouse=True)
def migrated_once(tmp_path_factory) -> Iterator[None]:
    """A new SQLite store begins as a copy of one that was migrated: its migration takes four times as long."""
    from thunderctl.store import database

    ordinary, first = database.open_sqlite, tmp_path_factory.mktemp("migrated") / "store.db"
    database.Database(f"sqlite:///{first}").close()
    content = first.read_bytes()

    def opened(url: Any) -> Any:
        place = Path(url.database or ":memory:")
        if place.name != ":memory:" and place.parent.is_dir() and not place.exists():
            place.touch(mode=0o600)
            place.write_bytes(content)
        return ordinary(url)

    with patch.object(database, "open_sqlite", opened):
        yield


@pytest.fixture(scope="session")
def lasting_postgres() -> Iterator[Any]:
    from tests.thunderctl.postgres import postgres_server  # not in the engine environment, which has no driver

    with postgres_server() as server:
        yield server


@pytest.fixture
def postgres(lasting_postgres) -> Iterator[Any]:
    """A server that runs, and that the test may stop and start."""
    yield lasting_postgres
    if not lasting_postgres.runs:
        lasting_postgres.start()


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request, tmp_path) -> str:
    """The URL of a database without a table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server = request.getfixturevalue("postgres")
    return server.url(server.new_database())


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request, tmp_path) -> str:
    """The URL of an empty store, in a database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return request.getfixturevalue("postgres").new_store()
