"""PostgreSQL: a store for several hosts (docs/decisions/0016-writers-queue-in-both-databases.md).

Writers queue up at an advisory lock, taken as their transaction begins: each statement after it sees all that those
before have committed. A read is a single statement, and holds nobody up. What waits too long, or runs on a server that
is gone, fails by a limit: the caller may be a loop that has other things to do.
"""

from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, text
from sqlmodel import Session

from planner.errors import SpecError
from thunderctl.store.engines import Engines

WRITERS = int.from_bytes(b"thunder", "big")
"""The advisory lock's number. Others' locks in the same database have their own."""
WAIT_MS = 10_000
STATEMENT_MS = 15_000
CONNECTION = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,  # ms until what was sent and never acknowledged breaks the connection
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "fallback_application_name": "thunderctl",
    "client_encoding": "utf8",
}
"""Parameters of libpq, in seconds but where said; those that the URL states count."""


def open_postgres(url: URL) -> Engines:
    """No connection is made yet. Raises SpecError where the driver is missing."""
    unstated = {name: value for name, value in CONNECTION.items() if name not in url.query}
    try:
        engine = create_engine(
            url,
            pool_pre_ping=True,  # a server that was started again since the last call is connected to anew
            use_native_hstore=False,  # one query less
            connect_args={**unstated, "prepare_threshold": None},  # plans outlive neither migrations nor a pooler
        )
    except ImportError as error:
        raise SpecError(
            f"THUNDER_DATABASE_URL can't be used: PostgreSQL's driver is not installed here ({error.name or error}).",
            hint="In a checkout of thunderctl: pip install '.[postgres]'",
        ) from error
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _queue_up)
    reading = engine.execution_options(isolation_level="AUTOCOMMIT")
    return Engines(reading, engine.execution_options(isolation_level="READ COMMITTED", immediate=True), _server_time)


def _prepare(connection: Any, _record: Any) -> None:
    """Limits, and durability: a role or database may have been set to say yes before a write is on the disk."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false), "
            "set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), false)",
            (str(WAIT_MS), str(STATEMENT_MS)),
        )
    connection.commit()


def _queue_up(connection: Connection) -> None:
    if connection.get_execution_options().get("immediate", False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS})")


def _server_time(session: Session) -> float:
    """Hosts' clocks differ; who holds a lock, and until when, is told by the one that all of them see."""
    return float(session.connection().execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
