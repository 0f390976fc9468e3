"""The agent's own log: where it goes to a file, that is moved aside when it has grown, while the agent runs on."""

import logging
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from runtime.agent.shortening import MOST_BYTES, shorten


class OwnLog(logging.StreamHandler[TextIO]):
    """Writes to standard error. Whoever started the agent opened that to append, so what is cut off leaves no gap."""

    def __init__(self, *, most_bytes: int = MOST_BYTES) -> None:
        super().__init__(sys.stderr)
        self._most_bytes = most_bytes

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        with suppress(OSError, ValueError):
            self._shorten(self.stream.fileno())

    def _shorten(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_size > self._most_bytes:
            shorten(Path(f"/proc/self/fd/{descriptor}").readlink(), self._most_bytes)
