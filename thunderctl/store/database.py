"""The connection: SQLite by default, PostgreSQL by its URL (`sqlite.py`, `postgres.py`).

A write is on the disk when its transaction ends: leases are money. Writers queue up at the start of their transaction,
so none finds out half-way that somebody else wrote first.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from sqlmodel import Session

from thunderctl.home import database_url
from thunderctl.store.address import read_address
from thunderctl.store.failures import explained
from thunderctl.store.migrate import migrate
from thunderctl.store.postgres import open_postgres
from thunderctl.store.sqlite import open_sqlite
from thunderctl.store.swapped import OpenedFile


class Database:
    """An open store; the tables' own methods are in the classes beside this one. Migrated when it is opened.

    `now` is the time of day, in seconds since the epoch; given, it also stands for the clock that locks go by.
    """

    def __init__(self, url: str | None = None, *, now: Callable[[], float] | None = None) -> None:
        self.address = read_address(url or database_url())
        with explained(self.address):
            engines = open_postgres(self.address.url) if self.address.is_postgres else open_sqlite(self.address.url)
        self._engine, self._writing = engines.reading, engines.writing
        self._file = OpenedFile.of(self.address)
        self._now = now or time.time
        self._locks_at = engines.locks_at if now is None else lambda _: self._now()
        try:
            with explained(self.address):
                migrate(self._engine, self._writing)
        except BaseException:
            self.close()
            raise

    @property
    def server(self) -> str:
        """What answers, and where: it was asked for its version when the store was opened."""
        version = ".".join(str(part) for part in self._engine.dialect.server_version_info or ())
        return f"{self.address.kind} {version} at {self.address.place}"

    def is_swapped(self) -> bool:
        """Whether the file of a SQLite store was replaced by another one since this was opened: asked twice, at least,
        as one that is still being copied does not count yet."""
        return self._file.is_swapped()

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
        """A session for one statement; of several, each may see what was written since the one before."""
        with explained(self.address), Session(self._engine) as session:
            yield session

    @contextmanager
    def _write(self) -> Iterator[Session]:
        """A session whose changes are committed, durably, when the block ends without an error."""
        with explained(self.address), Session(self._writing) as session, session.begin():
            yield session
