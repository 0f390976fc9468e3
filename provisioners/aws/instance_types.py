"""Instance types as EC2 describes them → those with whole NVIDIA GPUs that we know, and what each has."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from planner.catalog import GpuType
from planner.errors import SpecError
from planner.gpus import gpu_named

GPU_TYPES = ("g*", "p*")
"""The families that have GPUs."""
GPUS = {
    "g7e": "RTXPRO6000-SE",
    "p3": "V100-SXM2-16GB",
    "p3dn": "V100-SXM2-32GB",
    "p4d": "A100-SXM4-40GB",
    "p4de": "A100-SXM4-80GB",
    "p5": "H100-SXM5-80GB",
    "p5e": "H200-SXM-141GB",
    "p5en": "H200-SXM-141GB",
    "p6-b200": "B200-SXM-180GB",
    "p6-b300": "B300-SXM",
}
"""Which GPU a family has, where EC2's own name leaves open how it is built ("A100")."""
NVLINKED = frozenset(GPUS) - {"g7e"}
LEAST_CARD = 0.9
"""Of its type's memory: an instance that has less has a part of a GPU."""
ARCHITECTURE = "x86_64"


@dataclass(frozen=True, slots=True)
class InstanceType:
    """What one machine of a type has. `gbit_per_s` is what its network always gives, not what it reaches at times."""

    name: str
    gpu: GpuType
    gpu_count: int
    gpu_memory_gib: float
    vcpus: int
    ram_gb: float
    gbit_per_s: float
    nvlink: bool
    bandwidth_known: bool = True
    spot: bool = True

    @property
    def family(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Types:
    """The types that can serve, by name, and how many others were left out for which reason."""

    by_name: Mapping[str, InstanceType]
    left_out: Counter[str]


def instance_types(rows: Iterable[Mapping[str, Any]]) -> Types:
    """Those of `rows` (as describe_instance_types has them) that an engine of ours can run on."""
    found, left_out = {}, Counter[str]()
    for row in rows:
        try:
            if reason := unfit(row):
                left_out[reason] += 1
            else:
                found[str(row["InstanceType"])] = instance_type(row)
        except SpecError as error:
            left_out[error.message.split(";")[0]] += 1
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            left_out[f"not understood: {error!r}"] += 1
    return Types(found, left_out)


def unfit(row: Mapping[str, Any]) -> str:
    """Why no engine of ours runs on it; empty where one may."""
    gpus = [gpu for gpu in row.get("GpuInfo", {}).get("Gpus", []) if gpu.get("Manufacturer") == "NVIDIA"]
    if not gpus:
        return "no NVIDIA GPU"
    if row.get("BareMetal"):
        return "bare metal, which boots too slowly"
    if ARCHITECTURE not in row["ProcessorInfo"]["SupportedArchitectures"]:
        return f"not {ARCHITECTURE}"
    if len(gpus) > 1 or gpus[0]["Count"] < 1 or gpus[0].get("GpuPartitionSize", 1.0) < 1:
        return "a part of a GPU"
    return ""


def instance_type(row: Mapping[str, Any]) -> InstanceType:
    """One row. Raises SpecError for a GPU we don't know, and LookupError, ValueError or TypeError for other shapes."""
    name = str(row["InstanceType"])
    [gpus] = row["GpuInfo"]["Gpus"]
    family, stated_gib = name.partition(".")[0], float(gpus["MemoryInfo"]["SizeInMiB"]) / 1024
    gpu = gpu_named(GPUS.get(family, str(gpus["Name"])), stated_gib)
    if stated_gib < LEAST_CARD * gpu.memory_gib:
        raise SpecError(f"{gpu.name} of {stated_gib:.1f} GiB")
    gbit_per_s, known = _bandwidth(row["NetworkInfo"])
    count = int(gpus["Count"])
    return InstanceType(
        name=name,
        gpu=gpu,
        gpu_count=count,
        gpu_memory_gib=min(stated_gib, gpu.memory_gib),
        vcpus=int(row["VCpuInfo"]["DefaultVCpus"]),
        ram_gb=float(row["MemoryInfo"]["SizeInMiB"]) * 2**20 / 1e9,
        gbit_per_s=gbit_per_s,
        nvlink=family in NVLINKED and count > 1,
        bandwidth_known=known,
        spot="spot" in row.get("SupportedUsageClasses", ("spot",)),
    )


def _bandwidth(network: Mapping[str, Any]) -> tuple[float, bool]:
    """Gbit/s, and whether that is the baseline: "Up to 10 Gigabit" alone says a quarter of it.

    Of the card that a machine's one interface is attached to, however many others there are, and no more than is
    stated for the whole machine.
    """
    cards = {card.get("NetworkCardIndex", 0): card for card in network.get("NetworkCards", [])}
    baseline = cards.get(network.get("DefaultNetworkCardIndex", 0), {}).get("BaselineBandwidthInGbps")
    text = str(network.get("NetworkPerformance", ""))
    stated = re.search(r"(?:(\d+)x )?(\d+(?:\.\d+)?) Gigabit", text)
    whole = int(stated[1] or 1) * float(stated[2]) if stated else math.inf
    if isinstance(baseline, int | float):
        return min(float(baseline), whole), True
    if not stated:
        raise ValueError(f"its network is {text!r}")
    one = whole / max(len(cards), 1)
    return (one / 4, False) if text.startswith("Up to") else (one, True)
