"""How much of a download has arrived, in a file of one line that others read while it grows."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

GB, MB = 10**9, 10**6
WRITE_EVERY_S = 1.0


class Progress:
    """Counts bytes from any thread. `now` is in seconds."""

    def __init__(self, path: Path, total: int, *, now: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._total = total
        self._now = now
        self._done = 0
        self._written = float("-inf")
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        """`size` more have arrived; fewer than none where what had arrived was thrown away."""
        with self._lock:
            self._done += size
            if self._now() - self._written >= WRITE_EVERY_S:
                self._written = self._now()
                self._path.write_text(amount(self._done, self._total) + "\n")


def amount(done: int, total: int) -> str:
    """`3.1 of 61.0 GB`, in MB where it is less than one of them."""
    unit, name = (GB, "GB") if total >= GB else (MB, "MB")
    return f"{done / unit:.1f} of {total / unit:.1f} {name}"
