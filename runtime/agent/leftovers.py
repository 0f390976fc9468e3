"""What a dead engine leaves behind on its host, and how it is known to be that engine's.

Each engine gets a temporary folder of its own. vLLM puts its rendezvous file `vllm_dist_<random>` there and names its
shared-memory segments after it, so those names and no others are removed from /dev/shm.
"""

import glob
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import psutil

from runtime.processes import CLOCK_TOLERANCE_S, ProcessId

log = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")
RENDEZVOUS = "vllm_dist_"
RESOURCE_TRACKER = "multiprocessing.resource_tracker"


def make_temporary_folder() -> Path:
    """For one engine: short, since vLLM's sockets lie in it, and its owner's alone."""
    return Path(tempfile.mkdtemp(prefix="thunder-"))


def rendezvous_names(folder: Path) -> frozenset[str]:
    """The names that the engine of this temporary folder gave its segments."""
    return frozenset(path.name for path in folder.glob(f"{RENDEZVOUS}*"))


def remove_leftovers(folder: Path, names: Iterable[str], *, shared_memory: Path = SHARED_MEMORY) -> None:
    """Remove a dead engine's temporary folder and the segments named after its rendezvous files.

    Names come out of a file: one that is not whole would be a part of everybody's.
    """
    for name in filter(_is_whole, {*names, *rendezvous_names(folder)}):
        for segment in shared_memory.glob(f"*{glob.escape(name)}*"):
            segment.unlink(missing_ok=True)
            log.info("removed %s", segment)
    shutil.rmtree(folder, ignore_errors=True)


def _is_whole(name: str) -> bool:
    return name.startswith(RENDEZVOUS) and len(name) > len(RENDEZVOUS)


def session_members(leader: ProcessId) -> list[psutil.Process]:
    """The processes of the session that `leader` led, itself included, dead leaders' sessions too.

    The kernel gives no process a pid that still names a session, so a pid that has come back means the session is gone.
    """
    members = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader.pid and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return [] if _came_back(leader) else members


def _came_back(leader: ProcessId) -> bool:
    try:
        return abs(psutil.Process(leader.pid).create_time() - leader.started_at) > CLOCK_TOLERANCE_S
    except psutil.NoSuchProcess:
        return False


def is_resource_tracker(process: psutil.Process) -> bool:
    """Python's helper that unlinks shared memory when the processes it serves are gone: it ends by itself."""
    try:
        return any(RESOURCE_TRACKER in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False
