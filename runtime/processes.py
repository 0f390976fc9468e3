"""Processes named beyond doubt: a pid comes back after its process is gone, a pid with its start time does not."""

import os
from dataclasses import dataclass

import psutil

CLOCK_TOLERANCE_S = 2.0
"""Start times are seconds since the epoch, worked out from the boot time, which moves when the clock is set."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process: its pid and when it started, in seconds since the epoch."""

    pid: int
    started_at: float


def process_id(pid: int) -> ProcessId:
    """The identity of the process that has `pid` now. Raises psutil.NoSuchProcess."""
    return ProcessId(pid, psutil.Process(pid).create_time())


def is_alive(process: ProcessId) -> bool:
    """Whether this very process runs; one that waits to be reaped does not."""
    try:
        found = psutil.Process(process.pid)
        same = abs(found.create_time() - process.started_at) <= CLOCK_TOLERANCE_S
        return same and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def own_process_id() -> ProcessId:
    return process_id(os.getpid())
