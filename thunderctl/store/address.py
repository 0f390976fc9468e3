"""Where the store is: its URL, read without ever saying a password, and shown in words for people."""

from dataclasses import dataclass

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from planner.errors import SpecError

POSTGRES = ("postgresql", "postgres", "postgresql+psycopg")
"""A URL that names no driver means psycopg 3, the one that the extra `postgres` brings."""
EXAMPLES = (
    "For example sqlite:////path/to/store.db or postgresql://user:password@host/database, where a password's own "
    "@ : / ? # % are written %40 %3A %2F %3F %23 %25."
)


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """A database of a kind that the store can be in."""

    url: URL

    @property
    def is_postgres(self) -> bool:
        return self.url.get_backend_name() == "postgresql"

    @property
    def kind(self) -> str:
        return "PostgreSQL" if self.is_postgres else "SQLite"

    @property
    def place(self) -> str:
        """Where it is, and nothing that lets anybody in."""
        if not self.is_postgres:
            return self.url.database or ":memory:"
        asked = self.url.query.get("host", "")
        host = self.url.host or (asked if isinstance(asked, str) else ", ".join(asked)) or "this host"
        port = f":{self.url.port}" if self.url.port else ""
        return f"{host}{port}, database {self.url.database or self.url.username or '(the default)'}"

    def __str__(self) -> str:
        return f"{self.kind} at {self.place}"

    def __repr__(self) -> str:
        return f"<{self}>"


def read_address(text: str) -> Address:
    """Raises SpecError. What can't be read is not repeated: it may be somebody's password."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise _unusable("it is no URL of a database") from error
    if url.host and "@" in url.host:
        raise _unusable("there is an @ within its user or password")
    if url.drivername in POSTGRES:
        return Address(url.set(drivername="postgresql+psycopg"))
    if url.get_backend_name() != "sqlite":
        raise _unusable(f"it names {url.drivername}; expected sqlite or postgresql")
    return Address(url)


def _unusable(why: str) -> SpecError:
    return SpecError(f"THUNDER_DATABASE_URL can't be used: {why}.", hint=EXAMPLES)
