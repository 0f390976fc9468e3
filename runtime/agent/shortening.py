"""A log that has grown is moved aside while it is written: what is there goes to the name with .1, in place of before.

Whoever writes it opened it to append, so what is cut off leaves no gap. `thunderctl/logs/reading.py` follows it over
the cut. Of what another process writes during the cut some lines can be lost.
"""

import os
from contextlib import suppress
from functools import partial
from io import FileIO
from pathlib import Path

MOST_BYTES = 32 << 20
CHUNK_BYTES = 1 << 20


def kept_path(path: Path) -> Path:
    """Where the part of a log that was cut off lies."""
    return path.with_name(f"{path.name}.1")


def is_long(path: Path, most_bytes: int) -> bool:
    try:
        return path.stat().st_size > most_bytes
    except FileNotFoundError:
        return False


def shorten(path: Path, most_bytes: int) -> int:
    """Move a log aside, and say by how many bytes it is shorter. Raises OSError where it can't be cut.

    At most twice `most_bytes` are kept: one that grew while nobody looked, or grows as fast as it is read, would take
    as much again. What was kept before goes first. What a full disk does not take even so is lost: the log is shortened
    all the same, as the engine needs the disk more.
    """
    with path.open("r+b", buffering=0) as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - 2 * most_bytes))
        with suppress(OSError):
            _keep(log, kept_path(path), 2 * most_bytes)
        cut = log.tell()
        os.ftruncate(log.fileno(), 0)
    return cut


def _keep(log: FileIO, beside: Path, most_bytes: int) -> None:
    """Copy what comes of it, to its end or a little beyond so many bytes."""
    beside.unlink(missing_ok=True)
    with beside.open("wb", buffering=0) as kept:
        for chunk in iter(partial(log.read, CHUNK_BYTES), b""):
            kept.write(chunk)
            if kept.tell() >= most_bytes:
                return
