"""The access log: one JSON line a request, never a word of a prompt or an answer.

Lines are gathered and written a few times a second: a write for each would cost a request more than its line does.
"""

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

from runtime.router.watching.observed import RequestRecord

log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.25
ROTATE_BYTES = 64 * 1024 * 1024
KEPT_FILES = 4


class AccessLog:
    """Writes to a file, which it rotates (`access.log.1` is the last one, four are kept), or to stderr (no path)."""

    def __init__(self, path: Path | None, *, rotate_bytes: int = ROTATE_BYTES) -> None:
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, entry: dict[str, object]) -> None:
        self._lines.append(json.dumps(entry, separators=(",", ":"), ensure_ascii=False))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WRITE_EVERY_S, self.flush)

    def flush(self) -> None:
        """Write what was gathered. A disk that takes nothing loses lines, never a request."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        data = ("\n".join(lines) + "\n").encode(errors="replace")
        try:
            if self._path is None:
                sys.stderr.buffer.write(data)
                sys.stderr.flush()
            else:
                self._append(self._path, data)
        except OSError as error:
            log.error("%d lines of the access log are lost: %s", len(lines), error)

    def _append(self, path: Path, data: bytes) -> None:
        path.touch(mode=0o600)
        with path.open("ab") as file:
            file.write(data)
            full = file.tell() >= self._rotate_bytes
        if full:
            for number in range(KEPT_FILES - 1, 0, -1):
                older = path.with_name(f"{path.name}.{number}")
                if older.exists():
                    older.replace(path.with_name(f"{path.name}.{number + 1}"))
            path.replace(path.with_name(f"{path.name}.1"))


def log_entry(record: RequestRecord, *, path: str, status: int, at: float, seconds: float) -> dict[str, object]:
    """A request's line. `at`: when it arrived, in seconds since the epoch; all but the counts of tokens in seconds."""
    return {
        "time": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
        "request_id": record.request_id,
        "key": record.key or None,
        "path": path,
        "status": status,
        "outcome": record.outcome,
        "prefill": record.prefill,
        "decode": record.decode or None,
        "codec": record.codec or ("local" if record.decode else None),
        "prompt_tokens": record.prompt_tokens,
        "output_tokens": record.output_tokens,
        "queued_s": round(record.queued_s, 4),
        "ttft_s": None if record.ttft_s is None else round(record.ttft_s, 4),
        "seconds": round(seconds, 4),
    }
