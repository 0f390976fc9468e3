"""What each client key has used: counted by the router, and written down beside the keys so that it outlives it."""

import json
import logging
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.files import write_json
from runtime.router.observed import RequestRecord

log = logging.getLogger(__name__)

USAGE_SCHEMA = "thunder.key-usage/v1"
USAGE_FILE = "usage.json"
"""Beside the file of keys."""
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


class UsageBook:
    """Usage by key id. Without a path it is counted, and forgotten at the end."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._dirty = False
        self.by_key: defaultdict[str, KeyUsage] = defaultdict(KeyUsage, read_usage(path) if path else {})

    def count(self, key_id: str, record: RequestRecord, at: float) -> None:
        """Add a request at its end."""
        usage = self.by_key[key_id]
        if record.outcome in REFUSED:
            usage.refused += 1
        else:
            usage.requests += 1
        usage.prompt_tokens += record.prompt_tokens or 0
        usage.cached_tokens += record.cached_tokens or 0
        usage.output_tokens += record.output_tokens or 0
        usage.last_used_at = at
        self._dirty = True

    def save(self) -> None:
        """Write it down where it changed. A disk that takes nothing is logged: requests go on."""
        if self._path is None or not self._dirty:
            return
        try:
            write_json(self._path, self.to_json())
            self._dirty = False
        except OSError as error:
            log.error("the usage of keys can't be written: %s", error)

    def to_json(self) -> dict[str, object]:
        return {"schema": USAGE_SCHEMA, "keys": {key_id: asdict(usage) for key_id, usage in self.by_key.items()}}


def read_usage(path: Path) -> dict[str, KeyUsage]:
    """What was written down; nothing where there is no such file, or it can't be read."""
    try:
        return usage_from_json(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.error("the usage of keys in %s can't be read, and is counted anew: %s", path, error)
        return {}


def usage_from_json(document: dict[str, dict[str, dict[str, float]]]) -> dict[str, KeyUsage]:
    return {key_id: KeyUsage(**entry) for key_id, entry in document["keys"].items()}  # type: ignore[arg-type]
