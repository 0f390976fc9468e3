"""SQLite: a file of this host, in WAL mode, with writes on the disk when their transaction ends.

Writers queue up at the start of their transaction, so none finds out half-way that somebody else wrote first.
"""

import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event

from thunderctl.store.engines import Engines

BUSY_TIMEOUT_MS = 10_000


def open_sqlite(url: URL) -> Engines:
    """The file is made, private to its owner, if it is missing. Raises OSError."""
    if url.database and url.database != ":memory:" and not Path(url.database).exists():
        Path(url.database).touch(mode=0o600)
    engine = create_engine(url)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return Engines(engine, engine.execution_options(immediate=True), lambda _: time.time())


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver opens no transactions of its own: `_begin` does
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
