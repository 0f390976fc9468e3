"""Row 5: what is left when all is over. Other engines may run here, so what is the lab's is noted while it runs."""

import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.lab.deployment import Deployment
from benchmarks.lab.hosts import Host

TITLE = "5. What is left behind"
SHARED_MEMORY, TEMPORARY = Path("/dev/shm"), "TMPDIR"
MAPPED = re.compile(r"^\S+ \S+ \S+ \S+ (\d+) +/dev/shm/", re.MULTILINE)
"""The inode of shared memory in a process's maps: names there may be those that it only began with."""


@dataclass(frozen=True, slots=True)
class Traces:
    """Inodes of shared memory, and temporary folders, that processes on the hosts were seen with."""

    inodes: set[int] = field(default_factory=set)
    temporaries: set[Path] = field(default_factory=set)

    def note(self, hosts: Iterable[Host]) -> None:
        for pid in (pid for host in hosts for pid in host.group.pids()):
            try:
                self.inodes.update(map(int, MAPPED.findall(Path(f"/proc/{pid}/maps").read_text())))
                folder = psutil.Process(pid).environ().get(TEMPORARY, "")
            except (OSError, psutil.Error):  # it has ended meanwhile
                continue
            if Path(folder).name.startswith("thunder-"):
                self.temporaries.add(Path(folder))

    @property
    def left(self) -> dict[str, list[str]]:
        return {
            "shared memory of its engines": sorted(
                entry.name for entry in os.scandir(SHARED_MEMORY) if entry.inode() in self.inodes
            ),
            "temporary folders of its engines": sorted(str(one) for one in self.temporaries if one.exists()),
        }


def left_of(deployment: Deployment, traces: Traces) -> dict[str, list[str]]:
    """After `down`, while the hosts are on."""
    leases = deployment.command("leases")
    return {
        "leases": [one["id"] for one in leases["leases"]] + [str(one) for one in leases["strays"]],
        "processes on hosts": [text for host in deployment.hosts for text in _processes(host)],
        "processes here": [str(process) for process in deployment.operator.processes()],
        "files on hosts": [str(path) for host in deployment.hosts for path in _files(host)],
        "keys here": [str(path) for path in (deployment.home / "deployments").rglob("*.key")],
        "hosts remembered here": [str(path) for path in (deployment.home / "ssh" / "leases").glob("*")],
        **traces.left,
    }


def left_of_hosts(hosts: Sequence[Host]) -> dict[str, list[str]]:
    """After they were switched off for good."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.split()
    return {
        "network namespaces": [host.network.through[-1] for host in hosts if host.network.through[-1] in listed],
        "network interfaces": [one.network.wire for one in hosts if Path("/sys/class/net", one.network.wire).exists()],
        "control groups": [str(host.group.folder) for host in hosts if host.group.folder.exists()],
    }


def lines_of(left: Mapping[str, Sequence[str]]) -> list[str]:
    rows = [f"| {what} | {len(names)}{''.join(f', `{name}`' for name in names[:3])} |" for what, names in left.items()]
    return ["After `down`, and after the lab was taken apart.", "", "| | left |", "|---|---|", *rows]


def found_of(left: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {what: list(names) for what, names in left.items()}


def _processes(host: Host) -> list[str]:
    """All but those of its SSH server."""
    found = []
    for pid in host.group.pids():
        try:
            process = psutil.Process(pid)
            if not process.name().startswith("sshd"):
                found.append(f"{host.name}: {process.name()} {pid}")
        except psutil.NoSuchProcess:
            continue
    return found


def _files(host: Host) -> list[Path]:
    disk = host.folder / "disk"
    return sorted(disk.iterdir()) if disk.exists() else []
