"""The memory of the agent's host, and how much of it the pool may be."""

import contextlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path

POOL_SHARE = 0.5
"""The rest is for engines: their processes, and weights on their way to the GPUs."""

CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""What a container may use, version 2 and 1; "max" is no limit."""

log = logging.getLogger(__name__)


def host_memory_bytes(limits: Iterable[Path] = CGROUP_LIMITS) -> int:
    """What the host has, or a container that this runs in may use of it."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in limits:
        with contextlib.suppress(OSError, ValueError):
            found.append(int(path.read_text()))
    return min(found)


def pool_bytes_within(asked: int, memory_bytes: int) -> int:
    """The pool asked for, as far as the host's memory allows. Only what is used of it takes memory."""
    most = int(memory_bytes * POOL_SHARE)
    if asked > most:
        log.warning("the pool is to have %d bytes; this host has memory for %d", asked, most)
    return min(asked, most)
