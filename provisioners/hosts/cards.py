"""Which of a host's GPUs are those that were offered: another one beside them, as for a screen, is no matter."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from planner.errors import SpecError
from planner.gpus import gpu_named

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioners.hosts.facts import GpuFact

MEMORY_SHARE = 0.9
"""Of what its type has: drivers and error correction take some."""
NO_GPU = "CPU"


@dataclass(frozen=True, slots=True)
class Gpus:
    """What the offer promised. `name` is our table's; CPU: none is needed. `memory_gib` is one card's."""

    name: str
    count: int
    memory_gib: float = 0.0


WITHOUT_GPUS = Gpus(NO_GPU, 1)


def cards_for_engines(found: "Iterable[GpuFact]", offered: "Gpus") -> tuple[str, ...]:
    """The UUIDs of the cards that were offered, in nvidia-smi's order: a plan's GPU n is the n-th of these."""
    if offered.name == NO_GPU:
        return ()
    return tuple(gpu.uuid for gpu in found if not why_not_offered(gpu, offered))


def why_not_offered(gpu: "GpuFact", offered: "Gpus") -> str:
    """What tells the card from those that were offered; empty where nothing does."""
    least_gib = MEMORY_SHARE * (offered.memory_gib or gpu_named(offered.name).memory_gib)
    memory_gib = gpu.memory_mib / 1024
    if (name := type_of(gpu)) != offered.name:
        return f"GPU {gpu.uuid} is {gpu.name!r} ({name or 'no type that we know'})"
    if memory_gib < least_gib:
        return f"GPU {gpu.uuid} has {memory_gib:.1f} GiB; expected {least_gib:.1f} or more"
    return ""


def type_of(gpu: "GpuFact") -> str:
    """Its type in our table; empty where that has none."""
    try:
        return gpu_named(gpu.name, gpu.memory_mib / 1024).name
    except SpecError:
        return ""
