"""Client keys as the operator has them: made, revoked, dated. The router reads the file they are in."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from planner.errors import SpecError
from runtime.router.access.keys import ApiKey, new_key, read_keys, write_keys
from thunderctl.secrets import Secret

UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def create_key(
    path: Path,
    name: str,
    *,
    expires_at: float | None = None,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
) -> tuple[ApiKey, Secret]:
    """Make a key and keep its digest; the key itself is returned this once. Raises SpecError for a name in use."""
    with _locked(path):
        keys, now = read_keys(path), time.time()
        if any(key.name == name for key in keys):
            raise SpecError(
                f"There is a key called {name!r} already.", hint=f"Revoke it: thunderctl keys revoke {name}"
            )
        key, text = new_key(
            name,
            created_at=now,
            expires_at=expires_at,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )
        write_keys(path, [*keys, key])
    return key, Secret(text)


def revoke_key(path: Path, named: str) -> ApiKey:
    """Forget a key, by its name or id. Raises SpecError where there is none."""
    with _locked(path):
        keys = read_keys(path)
        gone = next((key for key in keys if named in (key.name, key.id)), None)
        if gone is None:
            known = ", ".join(sorted(key.name for key in keys)) or "none"
            raise SpecError(f"No key is called {named!r}; there are: {known}.")
        write_keys(path, [key for key in keys if key is not gone])
    return gone


def expiry(text: str, now: float) -> float:
    """`12h`, `30d`, `8w` from now, or a date (UTC unless it says) → seconds since the epoch. Raises SpecError."""
    try:
        if text[-1:] in UNITS and text[:-1].isdecimal():
            at = now + int(text[:-1]) * UNITS[text[-1]].total_seconds()
        else:
            read = datetime.fromisoformat(text)
            at = (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
        datetime.fromtimestamp(at, UTC)  # a year that can be written
    except (ValueError, OverflowError, OSError) as error:
        raise SpecError(f"--expires is {text!r}; expected such as 12h, 30d, 8w, 2027-01-31.") from error
    if at <= now:
        raise SpecError(f"--expires is {text!r}, which is over; expected a time to come.")
    return at


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One command changes the keys at a time. Makes their folder (0700) if it is missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.with_name("keys.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
