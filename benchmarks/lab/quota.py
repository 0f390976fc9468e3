"""Groups of processes that get a fixed part of this machine's cores and no more: control groups of either version."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.provisioners.networks import Unavailable

PERIOD_US = 20_000
"""Short beside a step of an engine, so that the quota slows steps and does not stop them for long."""
V2_LIMIT = "cpu.max"
EMPTY_S = 10.0
"""How long processes that were killed may take to leave their group."""


@dataclass(frozen=True, slots=True)
class Group:
    """A control group: whoever is started through it, and all that these start, share its quota."""

    folder: Path

    @property
    def through(self) -> tuple[str, ...]:
        """What a command is started through to be in it."""
        return ("/bin/sh", "-c", f'echo $$ >{self.folder}/cgroup.procs && exec "$@"', "sh")

    def pids(self) -> list[int]:
        return [int(line) for line in (self.folder / "cgroup.procs").read_text().split()]

    def kill_all(self) -> int:
        """End everything in it, at once; how many that were. Raises TimeoutError for what does not end."""
        deadline, killed = time.monotonic() + EMPTY_S, set[int]()
        while pids := self.pids():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            killed.update(pids)
            if time.monotonic() > deadline:
                raise TimeoutError(f"Processes {pids} of {self.folder} still run after SIGKILL.")
            time.sleep(0.02)
        return len(killed)


@contextmanager
def group(name: str, cores: float) -> Iterator[Group]:
    """A group with so many cores, gone when the block ends, with all that runs in it. Raises Unavailable."""
    made = _made(name, cores)
    try:
        yield made
    finally:
        made.kill_all()
        made.folder.rmdir()


def _made(name: str, cores: float) -> Group:
    above, limits = place_of(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mounts").read_text(), cores)
    folder = above / name
    try:
        if V2_LIMIT in limits:
            (above / "cgroup.subtree_control").write_text("+cpu")
        folder.mkdir()
    except OSError as error:
        raise Unavailable(f"no control group can be made below {above}: {error.strerror}") from error
    try:
        for file, text in limits.items():
            (folder / file).write_text(text)
    except OSError as error:
        folder.rmdir()
        raise Unavailable(f"{above} lets groups have no CPU quota: {error.strerror}") from error
    return Group(folder)


def place_of(own: str, mounts: str, cores: float) -> tuple[Path, dict[str, str]]:
    """Where a group is made, by what /proc says, and the files that limit it.

    Of version 1 below the group that we are in ourselves, whose limits so hold too; of version 2 below the root, since
    a group that has processes may have none below it with controllers.
    """
    quota_us = round(cores * PERIOD_US)
    kinds = [line.split()[1:4] for line in mounts.splitlines()]
    ours = dict(line.split(":")[1:3] for line in own.splitlines() if line.count(":") == 2)
    for at, kind, options in kinds:
        if kind == "cgroup" and "cpu" in options.split(","):
            path = next((path for names, path in ours.items() if "cpu" in names.split(",")), "/")
            return Path(at, path.strip("/")), {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(quota_us)}
    for at, kind, _ in kinds:
        if kind == "cgroup2":
            return Path(at), {V2_LIMIT: f"{quota_us} {PERIOD_US}"}
    raise Unavailable("this machine has no control groups")
