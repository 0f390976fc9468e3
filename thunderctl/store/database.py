"""The connection: SQLite in WAL mode by default, any other database by its URL.

A write is on the disk when its transaction ends (`synchronous=FULL`): leases are money. Writers queue up at the start
of their transaction, so none finds out half-way that somebody else wrote first.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError
from sqlmodel import Session

from planner.errors import SpecError, ThunderError
from thunderctl.home import database_url
from thunderctl.store.migrate import migrate

BUSY_TIMEOUT_MS = 10_000


class Database:
    """An open store; the tables' own methods are in the classes beside this one. Migrated when it is opened."""

    def __init__(self, url: str | None = None, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        try:
            self._engine = _engine(url or database_url())
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise SpecError(
                f"THUNDER_DATABASE_URL can't be used: {error}.", hint="For example sqlite:////path/to/store.db"
            ) from error
        self._writing = self._engine.execution_options(immediate=True)
        with _explained(DatabaseError):
            migrate(self._engine, self._writing)

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _read(self) -> Iterator[Session]:
        with _explained(), Session(self._engine) as session:
            yield session

    @contextmanager
    def _write(self) -> Iterator[Session]:
        """A session whose changes are committed, durably, when the block ends without an error."""
        with _explained(), Session(self._writing) as session, session.begin():
            yield session


def _engine(url: str) -> Engine:
    where = make_url(url)
    if where.get_backend_name() != "sqlite":
        return create_engine(where)
    if where.database and where.database != ":memory:":
        Path(where.database).touch(mode=0o600)
    engine = create_engine(where)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver opens no transactions of its own: `_begin_sqlite` does
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextmanager
def _explained(kind: type[DatabaseError] = OperationalError) -> Iterator[None]:
    try:
        yield
    except kind as error:
        raise ThunderError(
            f"The store can't be used: {error.orig}.",
            hint="Is its disk full, or is another thunderctl stuck? THUNDER_HOME and THUNDER_DATABASE_URL say where.",
        ) from error
