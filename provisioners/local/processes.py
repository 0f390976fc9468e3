"""The processes of one local machine: which they are beyond doubt, ending them, and what they leave elsewhere.

A process is a machine's when

1. it is in the session of a process that the machine recorded (`run/*.pid.json`: pid, started_at), and that leader has
   the recorded start time: a pid that was used again is never touched;
2. its environment names the lease: so is found what has not recorded itself yet, and what outlived its leader;
3. the leader of its session was recorded and is gone, and it works in the machine's folder.

Outside the machine's folder an engine has a temporary folder, and shared memory named after vLLM's rendezvous files in
it. Agents remove both; those of an agent that was killed are found by its engines' records.
"""

import asyncio
import json
import os
import re
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from planner.errors import ProvisioningError

LEASE_VARIABLE = "THUNDER_LEASE_ID"
"""Set in the environment of every command on a local machine, and inherited by what it starts."""
CLOCK_TOLERANCE_S = 2.0
"""Start times come from the boot time, which moves when the clock is set."""
KILLED_S = 5.0
"""How long a killed process may take to disappear."""
POLL_S = 0.05
TEMPORARY_NAME = re.compile(r"thunder-[a-z0-9_]{8}")
RENDEZVOUS = "vllm_dist_"
RENDEZVOUS_NAME = re.compile(RENDEZVOUS + r"\w{8,}")
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What the engines of a machine have outside its folder: temporary folders, and the names in shared memory."""

    folders: frozenset[Path] = frozenset()
    names: frozenset[str] = frozenset()

    def __or__(self, other: "Leftovers") -> "Leftovers":
        return Leftovers(self.folders | other.folders, self.names | other.names)

    def remove(self, shared_memory: Path = SHARED_MEMORY) -> None:
        """Call it when the engines have ended. What is not this user's stays."""
        for segment in shared_memory.glob(f"*{RENDEZVOUS}*"):
            with suppress(FileNotFoundError):
                if any(name in segment.name for name in self.names) and _is_own(segment, stat.S_IFREG):
                    segment.unlink()
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)


def recorded_leftovers(folder: Path) -> Leftovers:
    """What the machine's engines have recorded, as far as it is certainly an engine's and this user's.

    Look before they end, since an engine that ends well removes its rendezvous files but not its shared memory, and
    again after: they may have made more.
    """
    folders: set[Path] = set()
    names: set[str] = set()
    for path in (folder / "run").glob("*.pid.json"):
        with suppress(FileNotFoundError, ValueError, TypeError, KeyError):
            record = json.loads(path.read_bytes())
            temporary, segments = Path(record["temporary"]), frozenset(map(str, record["segments"]))
            if _is_temporary(temporary):
                folders.add(temporary)
                names |= segments | {file.name for file in temporary.glob(f"{RENDEZVOUS}*")}
    return Leftovers(frozenset(folders), frozenset(name for name in names if RENDEZVOUS_NAME.fullmatch(name)))


async def end_processes(folder: Path, *, grace_s: float) -> None:
    """End every process of the machine: ask the leaders, wait up to `grace_s`, then kill what is left.

    Agents stop their own engines when asked. Raises ProvisioningError when a process survives being killed.
    """
    if not await _ended_by_themselves(folder, grace_s):
        await _kill(folder)


def machine_processes(folder: Path) -> tuple[psutil.Process, ...]:
    """What runs on the machine now, without this very process and without those that only wait to be reaped."""
    recorded = _recorded(folder)
    present = {pid: _started_at(pid) for pid in recorded}
    live = {pid for pid, started_at in present.items() if started_at is not None and _near(started_at, recorded[pid])}
    gone = {pid: recorded[pid] for pid, started_at in present.items() if started_at is None}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                session = os.getsid(process.pid)
                if session in live or _bears(process, folder) or _left_behind(process, gone.get(session), folder):
                    found.append(process)
    return tuple(found)


async def _ended_by_themselves(folder: Path, grace_s: float) -> bool:
    """Ask each leader once, those too that come to light while waiting."""
    deadline = time.monotonic() + grace_s
    asked: set[psutil.Process] = set()
    while left := machine_processes(folder):
        if time.monotonic() >= deadline:
            return False
        for process in _leaders(left) - asked:
            asked.add(process)
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        await asyncio.sleep(POLL_S)
    return True


async def _kill(folder: Path) -> None:
    """Kill round by round: a process may start another between our look and the signal."""
    deadline = time.monotonic() + KILLED_S
    while left := machine_processes(folder):
        if time.monotonic() >= deadline:
            pids = ", ".join(str(process.pid) for process in left)
            raise ProvisioningError(f"Processes {pids} of {folder.name} still run after SIGKILL.")
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        await asyncio.sleep(POLL_S)


def _leaders(processes: tuple[psutil.Process, ...]) -> set[psutil.Process]:
    """One a session: its leader, or all of it where the leader has gone."""
    pids = {process.pid for process in processes}
    leaders = set()
    for process in processes:
        with suppress(ProcessLookupError):
            session = os.getsid(process.pid)
            if session == process.pid or session not in pids:
                leaders.add(process)
    return leaders


def _recorded(folder: Path) -> dict[int, float]:
    """Pid → start time of each process that the machine recorded. A file that can't be read names nobody."""
    found = {}
    for path in (folder / "run").glob("*.pid.json"):
        with suppress(FileNotFoundError, ValueError, TypeError, KeyError):
            record = json.loads(path.read_bytes())
            found[int(record["pid"])] = float(record["started_at"])
    return found


def _started_at(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None


def _bears(process: psutil.Process, folder: Path) -> bool:
    return process.environ().get(LEASE_VARIABLE) == folder.name


def _left_behind(process: psutil.Process, leader_started_at: float | None, folder: Path) -> bool:
    if leader_started_at is None or process.create_time() < leader_started_at - CLOCK_TOLERANCE_S:
        return False
    return Path(process.cwd()).is_relative_to(folder)


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= CLOCK_TOLERANCE_S


def _is_temporary(path: Path) -> bool:
    """Whether it is a folder that an agent of this user made for an engine; no link, and nowhere else."""
    in_place = path.parent == Path(tempfile.gettempdir()) and TEMPORARY_NAME.fullmatch(path.name)
    return bool(in_place) and _is_own(path, stat.S_IFDIR)


def _is_own(path: Path, kind: int) -> bool:
    with suppress(FileNotFoundError):
        found = path.lstat()
        return stat.S_IFMT(found.st_mode) == kind and found.st_uid == os.getuid()
    return False
