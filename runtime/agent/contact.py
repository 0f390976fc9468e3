"""`run/renewed`: touched when a command, the controller or the router spoke to the agent.

So the machine's own switch knows that somebody still wants it: where the file has not changed for `[leases] deadman_s`,
it ends the machine.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

EVERY_S = 5.0
"""Requests come by the hundred a second; the switch counts in minutes."""


class Contact:
    """`path` is the file. `now` is in seconds."""

    def __init__(self, path: Path, *, now: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._now = now
        self._touched = float("-inf")

    def renew(self) -> None:
        """Say that we were spoken to. A disk that is full doesn't stop an agent."""
        if self._now() - self._touched >= EVERY_S:
            self._touched = self._now()
            with suppress(OSError):
                self._path.touch(mode=0o600)
