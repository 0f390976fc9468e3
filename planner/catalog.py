"""What the market sells: GPU types, offers, and the links between machines."""

from dataclasses import dataclass, field, replace
from math import inf
from typing import Self

from planner.costmodel.coefficients import Efficiency, EngineProfile

CODEC_GB_PER_S = 60.0
"""Packing or unpacking KV on a GPU, counted in bytes of the cache. A guess: LMCache's 4-bit codec is said to do 65-70
on an L20, and ours was timed on no GPU. CPUs are far from it (`provisioners/local/offers.py`)."""
INTERRUPTIBLE_AVAILABILITY = 0.95
"""Part of the time that an offer is taken to be up which the provider may take back at any moment. A guess: AWS states
only how many are interrupted in a month (most GPU types over 20 %), Vast nothing, and neither for how long."""


@dataclass(frozen=True, slots=True)
class GpuType:
    """One kind of accelerator.

    `fp16_tflops` is the dense tensor-core rate with FP32 accumulation: the one basis on which all cards are compared;
    `fp8_tflops` likewise, 0 where there is none. `nvlink_gb_per_s` is one direction, 0 where cards have no NVLink;
    `pcie_gb_per_s` likewise. `nvlink_cards` is how many cards one NVLink domain joins: 2 where it is a bridge.
    `pcie_direct` says that such cards reach each other's memory over PCIe. `compute_capability` is CUDA's, 0 without.
    `efficiency` is what of these rates is reached; `calibrated` says whether it was fitted to measurements of this card
    rather than borrowed from its architecture. `engine` is what the engine adds where that was measured on the machine.
    """

    name: str
    memory_gib: float
    memory_gb_per_s: float
    fp16_tflops: float
    pcie_gb_per_s: float
    nvlink_gb_per_s: float = 0.0
    bf16: bool = True
    compute_capability: float = 0.0
    calibrated: bool = False
    nvlink_cards: int = 0
    pcie_direct: bool = False
    fp8_tflops: float = 0.0
    tdp_w: float = 0.0
    architecture: str = ""
    efficiency: Efficiency = field(default_factory=Efficiency)
    engine: EngineProfile | None = None

    def __post_init__(self) -> None:
        for name in ("memory_gib", "memory_gb_per_s", "fp16_tflops", "pcie_gb_per_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"GPU {self.name} has {name} {getattr(self, name)}; expected more than 0.")


@dataclass(frozen=True, slots=True)
class GpuCalibration:
    """What was measured of a GPU type's engines on the machine itself; it takes the place of what the package knows.

    The coefficients are those of the same names in `Efficiency` and `EngineProfile`.
    """

    gpu: str
    gemm_share: float
    attention_factor: float
    read_share: float
    step_s: float
    sequence_s: float
    prompt_s: float
    host_share: float = 0.0
    stream_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("gemm_share", "attention_factor", "read_share"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{self.gpu} has {name} {getattr(self, name)}; expected more than 0.")

    @classmethod
    def of(cls, gpu: GpuType) -> Self | None:
        """What was measured of this type; None where it is as the package knows it."""
        if gpu.engine is None or not gpu.calibrated:
            return None
        efficiency, engine = gpu.efficiency, gpu.engine
        return cls(
            gpu=gpu.name,
            gemm_share=efficiency.gemm_share,
            attention_factor=efficiency.attention_factor,
            read_share=efficiency.read_share,
            step_s=engine.step_s,
            sequence_s=engine.sequence_s,
            prompt_s=engine.prompt_s,
            host_share=engine.host_share,
            stream_s=engine.stream_s,
        )

    def applied(self, known: GpuType) -> GpuType:
        """The type as it was measured. On a processor the engine's own work and the kernels take turns."""
        measured = {name: getattr(self, name) for name in ("gemm_share", "attention_factor", "read_share")}
        engine = EngineProfile(
            name=f"measured on {self.gpu}",
            step_s=self.step_s,
            sequence_s=self.sequence_s,
            prompt_s=self.prompt_s,
            host_overlap=1.0,
            host_share=self.host_share,
            stream_s=self.stream_s,
            calibrated=True,
        )
        return replace(known, efficiency=replace(known.efficiency, **measured), engine=engine, calibrated=True)


@dataclass(frozen=True, slots=True)
class Offer:
    """A machine that can be rented now, at a price, by anyone.

    Prices are of the whole machine. `network` names a private network that a replica may span; empty means none.
    `available` is how many copies can be rented. `leasable` is False for providers thunderctl only plans with.
    `handover_ms` is what every KV transfer to it takes beside its bytes, `codec_gb_per_s` how fast it packs KV: the
    network's and a GPU's own unless they were measured. `router_ms`: the round trip from the router.
    `estimated` names the fields that the source did not state and that were filled in with a default. Disk, memory of
    the host, CUDA version (the newest that its driver serves) and driver version are 0 where nobody states them.
    """

    offer_id: str
    provider: str
    region: str
    gpu: GpuType
    gpu_count: int
    usd_per_hour: float
    interruptible: bool = False
    machine: str = ""
    network: str = ""
    gpu_memory_gib: float = 0.0
    disk_gb: float = 0.0
    reliability: float | None = None
    inet_up_gbit_per_s: float = 1.0
    inet_down_gbit_per_s: float = 1.0
    egress_usd_per_gb: float = 0.0
    ingress_usd_per_gb: float = 0.0
    available: int = 1
    nvlink: bool = False
    leasable: bool = True
    handover_ms: float = 0.0
    router_ms: float = 0.0
    codec_gb_per_s: float = CODEC_GB_PER_S
    estimated: tuple[str, ...] = ()
    ram_gb: float = 0.0
    cuda_version: float = 0.0
    driver_version: float = 0.0

    def __post_init__(self) -> None:
        if self.gpu_count < 1:
            raise ValueError(f"Offer {self.offer_id} has {self.gpu_count} GPUs; expected 1 or more.")
        if not 0 <= self.usd_per_hour < inf:
            raise ValueError(f"Offer {self.offer_id} costs {self.usd_per_hour} $/h; expected 0 or more, and finite.")
        if self.available < 1:
            raise ValueError(f"Offer {self.offer_id} has {self.available} copies; expected 1 or more.")

    @property
    def memory_gib(self) -> float:
        """Usable memory of one of its GPUs, GiB: the machine's own figure, else the card's."""
        return self.gpu_memory_gib or self.gpu.memory_gib

    @property
    def availability(self) -> float:
        """Part of the time that it is expected to be up: all of it, unless it can be taken back."""
        if not self.interruptible:
            return 1.0
        return min(self.reliability if self.reliability is not None else 1.0, INTERRUPTIBLE_AVAILABILITY)


@dataclass(frozen=True, slots=True)
class Link:
    """What the network between two instances gives one flow, and how fast its ends pack and unpack KV, each."""

    bandwidth_gbit_per_s: float
    latency_ms: float
    usd_per_gb: float = 0.0
    estimated: bool = False
    codec_gb_per_s: float = CODEC_GB_PER_S

    def seconds(self, size_bytes: float) -> float:
        """Time to move `size_bytes`: latency + bytes ÷ bandwidth."""
        return self.latency_ms / 1e3 + size_bytes * 8 / (self.bandwidth_gbit_per_s * 1e9)
