"""What each client key has used: counted by the router, and written down beside the keys so that it outlives it.

Routers over one file of keys keep one account: each adds to the file what it has counted since it last did.
"""

import fcntl
import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.files import write_json
from runtime.router.watching.observed import RequestRecord
from runtime.typed import check_types

log = logging.getLogger(__name__)

USAGE_SCHEMA = "thunder.key-usage/v1"
USAGE_FILE = "usage.json"
"""Beside the file of keys."""
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)
"""What a file raises that is no account."""
LOCK_TRIES, LOCK_EVERY_S = 5, 0.01
REFUSED = frozenset({"limited", "shed"})
"""Outcomes of requests that never reached a replica because there was no room for them."""


@dataclass(slots=True)
class KeyUsage:
    """Totals since the key was made. `last_used_at` in seconds since the epoch."""

    requests: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    last_used_at: float | None = None

    def add(self, more: "KeyUsage") -> None:
        self.requests += more.requests
        self.refused += more.refused
        self.prompt_tokens += more.prompt_tokens
        self.cached_tokens += more.cached_tokens
        self.output_tokens += more.output_tokens
        if more.last_used_at is not None:
            self.last_used_at = max(self.last_used_at or 0.0, more.last_used_at)


class UsageBook:
    """Usage by key id. Without a path it is counted, and forgotten at the end."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._unsaved: dict[str, KeyUsage] = {}
        self.by_key: defaultdict[str, KeyUsage] = defaultdict(KeyUsage, read_usage(path) if path else {})

    def count(self, key_id: str, record: RequestRecord, at: float) -> None:
        """Add a request at its end."""
        usage = KeyUsage(last_used_at=at)
        if record.outcome in REFUSED:
            usage.refused += 1
        else:
            usage.requests += 1
        usage.prompt_tokens = record.prompt_tokens or 0
        usage.cached_tokens = record.cached_tokens or 0
        usage.output_tokens = record.output_tokens or 0
        self.by_key[key_id].add(usage)
        if self._path is not None:
            self._unsaved.setdefault(key_id, KeyUsage()).add(usage)

    def save(self) -> None:
        """Add what is new to what is written down, perhaps by others too. A file that can't be read is moved aside.

        A disk that takes nothing is logged: requests go on.
        """
        if self._path is None or not self._unsaved:
            return
        try:
            with _alone(self._path):
                totals = self._totals(self._path)
                write_json(self._path, _document(totals))
        except OSError as error:
            log.error("the usage of keys can't be written: %s", error)
        else:
            self.by_key, self._unsaved = totals, {}

    def _totals(self, path: Path) -> defaultdict[str, KeyUsage]:
        """What was written and what is new; without a file that can be read, as far as it is known here."""
        try:
            totals = defaultdict(KeyUsage, _written(path))
        except FileNotFoundError:
            return self.by_key
        except UNREADABLE as error:
            aside = path.with_name(f"{path.name}.unreadable-{time.time_ns()}")
            path.replace(aside)
            log.error("the usage of keys can't be read, and was moved to %s: %s", aside, error)
            return self.by_key
        for key_id, usage in self._unsaved.items():
            totals[key_id].add(usage)
        return totals

    def to_json(self) -> dict[str, object]:
        return _document(self.by_key)


def read_usage(path: Path) -> dict[str, KeyUsage]:
    """What was written down; nothing where there is no such file, or it can't be read."""
    try:
        return _written(path)
    except FileNotFoundError:
        return {}
    except (OSError, *UNREADABLE) as error:
        log.error("the usage of keys in %s can't be read, and is counted anew: %s", path, error)
        return {}


def usage_from_json(document: dict[str, dict[str, dict[str, float]]]) -> dict[str, KeyUsage]:
    """Raises one of UNREADABLE for what is no account."""
    usage = {key_id: KeyUsage(**entry) for key_id, entry in document["keys"].items()}  # type: ignore[arg-type]
    for one in usage.values():
        check_types(one)
    return usage


def _document(by_key: Mapping[str, KeyUsage]) -> dict[str, object]:
    return {"schema": USAGE_SCHEMA, "keys": {key_id: asdict(usage) for key_id, usage in by_key.items()}}


def _written(path: Path) -> dict[str, KeyUsage]:
    """Raises OSError, and one of UNREADABLE."""
    return usage_from_json(json.loads(path.read_bytes()))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """No other router writes the file meanwhile. Raises OSError where one does not let go of it."""
    with path.with_name(f".{path.name}.lock").open("w") as file:
        for left in reversed(range(LOCK_TRIES)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    raise
                time.sleep(LOCK_EVERY_S)
        yield
