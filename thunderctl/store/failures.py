"""Why the store can't be used, in words that say what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError

from planner.errors import ThunderError
from thunderctl.store.address import Address

FULL, BUSY, READ_ONLY, FORBIDDEN, UNREACHED, REFUSED, MISSING, CROWDED, LOST, OTHER = (
    "Its disk is full",
    "Another process has held it for too long",
    "It can't be written",
    "Its user may not do that",
    "Its server can't be reached",
    "Its server does not let this user in",
    "Its server has no such database",
    "Its server takes no more connections",
    "The connection was lost: what was being written is there whole, or not at all",
    "It can't be used",
)
CODES = {
    "SQLITE_FULL": FULL,
    "SQLITE_IOERR_WRITE": FULL,
    "SQLITE_IOERR_FSYNC": FULL,
    "SQLITE_IOERR_TRUNCATE": FULL,
    "SQLITE_IOERR_SHMSIZE": FULL,
    "SQLITE_IOERR_SHMMAP": FULL,
    "SQLITE_BUSY": BUSY,
    "SQLITE_LOCKED": BUSY,
    "SQLITE_READONLY": READ_ONLY,
    "SQLITE_CANTOPEN": READ_ONLY,
    "SQLITE_PERM": READ_ONLY,
    "53100": FULL,
    "55P03": BUSY,  # lock_timeout
    "57014": BUSY,  # statement_timeout
    "25006": READ_ONLY,  # a standby, or a database set so
    "42501": FORBIDDEN,
}
"""By the beginning of SQLite's name for it, or by PostgreSQL's SQLSTATE."""
WORDS = {
    r"FATAL: +database .* does not exist": MISSING,
    r"FATAL: +(sorry, too many|too many|remaining) .*connection": CROWDED,
    r"FATAL: +the database system is": UNREACHED,  # starting, or shutting down
    r"FATAL: |no password supplied": REFUSED,
    r"": UNREACHED,
}
"""Who is not let in hears no code, only words, in the language of the server. The first that fit count."""
HINTS = {
    FULL: "Make room there, then run the command again: it finds out what became of what was under way.",
    BUSY: "Wait for the other thunderctl, or end it; then run the command again.",
    READ_ONLY: "Is its folder mounted read-only, or somebody else's, or its server a standby? THUNDER_HOME and "
    "THUNDER_DATABASE_URL name it.",
    FORBIDDEN: "Let the user own the database: ALTER DATABASE ... OWNER TO ...",
    UNREACHED: "Is it up, and is THUNDER_DATABASE_URL right?",
    REFUSED: "Are user and password in THUNDER_DATABASE_URL right, and does its pg_hba.conf let them in from here?",
    MISSING: "Make it with `createdb`, or correct THUNDER_DATABASE_URL.",
    CROWDED: "Wait until others are done, or raise its max_connections; then run the command again.",
    LOST: "Run the command again: it finds out what became of what was under way.",
    OTHER: "Is its file damaged, or its server in trouble? THUNDER_HOME and THUNDER_DATABASE_URL say where it is.",
}


@contextmanager
def explained(where: Address) -> Iterator[None]:
    """Turn a database's failure into a ThunderError. A broken constraint is not one: it is the caller's to handle."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise _in_words(where, _kind(error), _said(error)) from error
    except OSError as error:
        raise _in_words(where, READ_ONLY, error.strerror or str(error)) from error


def _kind(error: DBAPIError) -> str:
    code = getattr(error.orig, "sqlite_errorname", None) or getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated:
        return LOST
    if code or not hasattr(error.orig, "sqlstate"):
        return next((kind for begins, kind in CODES.items() if (code or "").startswith(begins)), OTHER)
    return next(kind for words, kind in WORDS.items() if re.search(words, str(error.orig)))


def _said(error: DBAPIError) -> str:
    """The database's own words, without its advice, which is in the lines that are indented, and the statement."""
    told = getattr(getattr(error.orig, "diag", None), "message_primary", None) or str(error.orig)
    lines = [" ".join(line.split()) for line in told.splitlines() if not line.startswith((" ", "\t"))]
    return " ".join(lines).removeprefix("connection failed: ").removeprefix("connection is bad: ")


def _in_words(where: Address, kind: str, said: str) -> ThunderError:
    return ThunderError(f"The store ({where}) can't be used: {said.rstrip('.')}. {kind}.", hint=HINTS[kind])
