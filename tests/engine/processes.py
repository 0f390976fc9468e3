"""Processes that a test starts and ends."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

STOP_S = 60


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The process, asked to end afterwards, and killed if it does not."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
