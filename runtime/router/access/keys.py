"""Client keys: made once, kept as digests in a file, asked for by the router.

A key is `sk-thunder-ID-SECRET`, the secret 256 random bits. What is kept is SHA-256 of the whole. A slow hash such as
bcrypt makes it expensive to guess what people think up; nobody guesses 256 random bits, and it would cost every request
the CPU time of many.
"""

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from planner.errors import SpecError
from runtime.files import write_json
from runtime.typed import check_types

log = logging.getLogger(__name__)

KEYS_SCHEMA = "thunder.key-file/v1"
PREFIX = "sk-thunder"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NOBODY = "0" * 64
"""The digest that a key of no known id is compared with, so that it takes as long as any other."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key. Times in seconds since the epoch; None: it does not expire, or has no such limit."""

    id: str
    name: str
    digest: str
    created_at: float
    expires_at: float | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise SpecError(
                f"The key's name is {self.name!r}; expected up to 64 of A-Z, a-z, 0-9, dot, hyphen and underscore."
            )
        for limit in (self.requests_per_minute, self.tokens_per_minute):
            if limit is not None and limit < 1:
                raise SpecError(f"A limit of key {self.name} is {limit} a minute; expected 1 or more.")

    def is_over(self, at: float) -> bool:
        return self.expires_at is not None and at >= self.expires_at


def new_key(
    name: str,
    *,
    created_at: float,
    expires_at: float | None = None,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
) -> tuple[ApiKey, str]:
    """A new key: what is kept of it, and the key itself, which nobody can show again."""
    key_id = secrets.token_hex(6)
    text = f"{PREFIX}-{key_id}-{secrets.token_urlsafe(32)}"
    return ApiKey(key_id, name, _digest(text), created_at, expires_at, requests_per_minute, tokens_per_minute), text


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys in a file, none where it is missing. Raises SpecError."""
    try:
        document = json.loads(path.read_bytes())
        if document["schema"] != KEYS_SCHEMA:
            raise SpecError(f"{path} has schema {document['schema']!r}; expected {KEYS_SCHEMA!r}.")
        keys = tuple(ApiKey(**entry) for entry in document["keys"])
        for key in keys:
            check_types(key)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise SpecError(f"The keys in {path} can't be read: {error.strerror}.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise SpecError(f"The keys in {path} can't be read: {type(error).__name__} {error}.") from error
    return keys


def write_keys(path: Path, keys: Sequence[ApiKey]) -> None:
    write_json(path, {"schema": KEYS_SCHEMA, "keys": [asdict(key) for key in keys]})


class KeyRing:
    """The keys in force: those of the file, as it is now, so that a revoked key is refused from the next request on.

    Keys are `required` once there was a file, whatever becomes of it: the last key's end opens nothing. A file that
    can't be read changes nothing.
    """

    def __init__(self, path: Path | None, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        self._read: tuple[int, ...] | None = None
        self._keys: dict[str, ApiKey] = {}
        self.required = False
        self._refresh()

    def holder(self, authorization: str) -> ApiKey | None:
        """Whose key an `Authorization` header bears; None where it is none of ours, or over."""
        self._refresh()
        if not self._keys:
            return None
        scheme, _, text = authorization.partition(" ")
        text = text.strip()
        parts = text.removeprefix(f"{PREFIX}-").split("-", 1)
        key = self._keys.get(parts[0])
        same = hmac.compare_digest(_digest(text), key.digest if key else NOBODY)
        if key is None or not same or scheme.lower() != "bearer" or key.is_over(self._now()):
            return None
        return key

    def _refresh(self) -> None:
        """Read the file again where it is another one than before."""
        if self._path is None:
            return
        try:
            found: os.stat_result | None = os.stat(self._path)  # noqa: PTH116 - a third of Path.stat's time, each request
        except OSError:
            found = None
        mark = (found.st_mtime_ns, found.st_ino, found.st_size) if found else None
        if mark == self._read:
            return
        self._read = mark
        self.required = True
        try:
            self._keys = {key.id: key for key in read_keys(self._path)}
        except SpecError as error:
            log.error("the keys in force stay: %s", error.message)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
