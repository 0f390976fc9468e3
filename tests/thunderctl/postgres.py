"""A real PostgreSQL server of this machine's package, in a folder of its own: what tests keep stores in."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
import pytest
from sqlmodel import SQLModel

from tests.provisioners.sshd import free_port
from thunderctl.store.migrate import HEAD
from thunderctl.store.store import Store

BINARIES = max(
    Path("/usr/lib/postgresql").glob("*/bin"), key=lambda found: int(found.parent.name), default=Path("/nowhere")
)
WHOSE = "postgres"
"""Who runs it where tests are root's, which it refuses."""
UP_S = 60.0
ADMIN, PASSWORD = "admin", "s3cret-w0rd"
SETTINGS = (
    "fsync=off",
    "full_page_writes=off",
    "autovacuum=off",
    "shared_buffers=16MB",
    "max_connections=30",
    "log_min_messages=fatal",
    "timezone=UTC",
)


TABLES = ", ".join(table.name for table in SQLModel.metadata.sorted_tables)
CUT_OFF = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
BE_CURRENT = f"UPDATE alembic_version SET version_num = '{HEAD}'"


@dataclass(slots=True)
class PostgresServer:
    """One server, on a Unix socket that trusts everybody and a port of loopback that asks for a password."""

    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def url(self, database: str) -> str:
        return f"postgresql://{ADMIN}@/{database}?host={self.folder}&port={self.port}"

    def by_password(self, database: str, user: str = ADMIN, password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Each in a transaction of its own, as the server's owner."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def new_database(self, like: str = "template0", tablespace: str = "pg_default") -> str:
        name = f"t{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {like} TABLESPACE {tablespace}")
        return name

    def new_store(self) -> str:
        """The URL of an empty store: of one database, emptied, which takes a fifth of the time of another."""
        self.execute(CUT_OFF, f"TRUNCATE {TABLES} RESTART IDENTITY", BE_CURRENT, database="store")
        return self.url("store")

    def start(self) -> None:
        settings = [part for setting in self._settings() for part in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*as_whom("--pdeathsig", "INT"), BINARIES / "postgres", "-D", self.folder / "data", *settings],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + UP_S
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)

    @contextmanager
    def stopped(self, how: signal.Signals = signal.SIGINT) -> Iterator[None]:
        """It is away for the block."""
        self.stop(how)
        try:
            yield
        finally:
            self.start()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT cuts connections off; SIGQUIT is as good as a crash."""
        assert self._process
        self._process.send_signal(how)
        self._process.wait(UP_S)

    def _settings(self) -> tuple[str, ...]:
        return (*SETTINGS, f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}")

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Serve until the block ends. Skips where the package is missing."""
    if not (BINARIES / "postgres").exists():
        pytest.skip("There is no PostgreSQL server on this machine: install postgresql (make system-deps).")
    folder = Path(tempfile.mkdtemp(prefix="thunder-pg-"))  # pytest's own folders are closed to other users
    if os.geteuid() == 0:
        shutil.chown(folder, WHOSE, WHOSE)
    server = PostgresServer(folder, free_port())
    try:
        _make(server)
        server.start()
        server.execute("CREATE DATABASE migrated TEMPLATE template0")
        Store(server.url("migrated")).close()
        server.execute("CREATE DATABASE store TEMPLATE migrated")
        yield server
    finally:
        if server.runs:
            server.stop(signal.SIGQUIT)
        shutil.rmtree(folder)


def _make(server: PostgresServer) -> None:
    password = server.folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    options = ["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C", f"--username={ADMIN}"]
    options += ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password}"]
    subprocess.run(
        [*as_whom(), BINARIES / "initdb", "-D", server.folder / "data", *options],
        check=True,
        capture_output=True,
    )


def as_whom(*also: str) -> list[str]:
    """What begins a command so that it runs as who may run a server."""
    whose = ["--reuid", WHOSE, "--regid", WHOSE, "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *whose, *also]
