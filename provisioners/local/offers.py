"""What this host sells: slots of its processor, each one "CPU" GPU.

A slot is half a core and 4 GiB of memory, whichever runs out first, so 2 cores with 16 GiB or more sell 4. The price
is notional, 0.02 $/h a slot: nobody is billed, but the budget applies, and plans, gates and reports are the real ones.
Most of the 4 GiB is vLLM's own processes: the "CPU" GPU's memory is what is left for weights and KV.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from planner.catalog import GpuType, Offer

OFFER_ID = "local-slot"
SLOTS_PER_CORE = 2
SLOT_MEMORY_GIB = 4.0
SLOT_USD_PER_HOUR = 0.02
LOOPBACK_GBIT_PER_S = 10.0
CODEC_GB_PER_S = 0.5
"""Of KV, by one core: 1.0 to 2.0 with frames and their checksums (benchmarks/results/kv_codec.md), and half of that
with copying out of an engine's pages or into them (benchmarks/results/kv_crossover.md)."""


@dataclass(frozen=True, slots=True)
class Host:
    """The host as the market sees it: the processor cores that this process may use, memory in GiB, free disk in GB."""

    cores: int
    memory_gib: float
    disk_gb: float

    @classmethod
    def measured(cls, folder: Path) -> Self:
        """This host, with the disk that `folder` is on."""
        free = shutil.disk_usage(folder).free
        return cls(len(os.sched_getaffinity(0)), psutil.virtual_memory().total / 2**30, free / 1e9)

    @property
    def slots(self) -> int:
        """At least one: a host that runs this command can run something."""
        return max(1, min(SLOTS_PER_CORE * self.cores, int(self.memory_gib // SLOT_MEMORY_GIB)))


@dataclass(frozen=True, slots=True)
class Loopback:
    """How KV gets from one local machine to another: nominal figures, unless they were measured (see `Offer`)."""

    gbit_per_s: float = LOOPBACK_GBIT_PER_S
    handover_ms: float = 0.0
    codec_gb_per_s: float = CODEC_GB_PER_S


def slot_offers(
    host: Host, gpu: GpuType, *, taken: int, slots: int, usd_per_hour: float, loopback: Loopback
) -> tuple[Offer, ...]:
    """One offer of a slot with as many copies as are free; none when all are taken."""
    if taken >= slots:
        return ()
    return (
        Offer(
            offer_id=OFFER_ID,
            provider="local",
            region="local",
            gpu=gpu,
            gpu_count=1,
            usd_per_hour=usd_per_hour,
            network="loopback",
            gpu_memory_gib=gpu.memory_gib,
            disk_gb=round(host.disk_gb / slots, 1),
            reliability=1.0,
            inet_up_gbit_per_s=loopback.gbit_per_s,
            inet_down_gbit_per_s=loopback.gbit_per_s,
            handover_ms=loopback.handover_ms,
            codec_gb_per_s=loopback.codec_gb_per_s,
            available=slots - taken,
        ),
    )
