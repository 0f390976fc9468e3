"""Is a host what the spec says? Asked before it is leased; the answer is judged here, where it can be tested."""

import shlex
from dataclasses import dataclass
from typing import Self

from planner.catalog import GpuType
from planner.errors import HostError, SpecError
from planner.gpus import gpu_named
from provisioners.hosts.cards import MEMORY_SHARE
from provisioners.ssh.host import SshHost

INSPECT = """
at=%s
until [ -e "$at" ]; do at=$(dirname "$at"); done
echo "clock $(date +%%s)"
echo "disk_kib $(df -Pk "$at" | awk 'NR == 2 { print $4 }')"
if command -v nvidia-smi >/dev/null; then
  nvidia-smi --query-gpu=memory.total,name --format=csv,noheader,nounits | sed 's/^/gpu_mib /'
fi
"""
CLOCK_TOLERANCE_S = 120.0
"""Certificates, leases and measured delays want clocks that agree roughly."""
LEAST_DISK_GB = 1.0


@dataclass(frozen=True, slots=True)
class HostFacts:
    """`clock_s` is its time of day in seconds since the epoch; `gpus` are name and memory in GiB, one each."""

    clock_s: float
    disk_gb: float
    gpus: tuple[tuple[str, float], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """What INSPECT printed. Raises HostError."""
        rows = [line.split(" ", 1) for line in text.splitlines() if line.strip()]
        try:
            said = {key: value for key, value in rows if key != "gpu_mib"}
            gpus = tuple(_gpu(value) for key, value in rows if key == "gpu_mib")
            return cls(float(said["clock"]), float(said["disk_kib"]) * 1024 / 1e9, gpus)
        except (KeyError, ValueError) as error:
            raise HostError(
                f"The host describes itself as {text[:200]!r}; expected its clock, disk and GPUs."
            ) from error


def inspect_command(root: str) -> str:
    """Prints what HostFacts is parsed from. The disk is that which `root` is on, or will be once it is made."""
    return INSPECT % shlex.quote(root)


def why_not(host: SshHost, facts: HostFacts, now: float) -> str:
    """Why the host can't be leased as the spec describes it; empty when it can."""
    if facts.disk_gb < LEAST_DISK_GB:
        return f"its disk has {facts.disk_gb:.1f} GB free; expected {LEAST_DISK_GB:g} or more"
    if abs(ahead_s := facts.clock_s - now) > CLOCK_TOLERANCE_S:
        return f"its clock is {abs(ahead_s):.0f} s {'ahead' if ahead_s > 0 else 'behind'}; set it (chrony, ntpd)"
    return "" if host.gpu == "CPU" else _why_not_gpus(host, facts)


def _why_not_gpus(host: SshHost, facts: HostFacts) -> str:
    wanted = gpu_named(host.gpu)
    if len(facts.gpus) < host.gpu_count:
        return f"nvidia-smi lists {len(facts.gpus)} GPUs; the spec says {host.gpu_count} x {host.gpu}"
    others = [(name, memory_gib) for name, memory_gib in facts.gpus if not _is(name, memory_gib, wanted)]
    if len(facts.gpus) - len(others) < host.gpu_count:
        name, memory_gib = others[0]
        return f"it has a {name} of {memory_gib:.0f} GiB; the spec says {host.gpu} ({wanted.memory_gib:.0f} GiB)"
    return ""


def _is(name: str, memory_gib: float, wanted: GpuType) -> bool:
    """Whether the card is of that type and has its memory. Another one beside those that are is no matter."""
    try:
        return gpu_named(name, memory_gib).name == wanted.name and memory_gib >= MEMORY_SHARE * wanted.memory_gib
    except SpecError:
        return False


def _gpu(line: str) -> tuple[str, float]:
    memory, _, name = line.partition(",")
    return name.strip(), float(memory) / 1024
