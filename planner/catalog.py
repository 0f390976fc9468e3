"""What the market sells: GPU types, offers, and the links between machines."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GpuType:
    """One kind of accelerator.

    `fp16_tflops` is the dense tensor-core rate with FP32 accumulation: the one basis on which all cards are compared.
    `nvlink_gb_per_s` is one direction, 0 where cards have no NVLink; `pcie_gb_per_s` likewise. `nvlink_cards` is how
    many cards one NVLink domain joins: 2 where it is a bridge.
    `prefill_efficiency` is the share of that rate, `decode_efficiency` the share of the memory bandwidth, that a layer
    reaches; `step_overhead_s` is what the host adds to every pass of the engine, whatever the batch.
    `calibrated` says whether the cost model's efficiencies were fitted to measurements of this card.
    """

    name: str
    memory_gib: float
    memory_gb_per_s: float
    fp16_tflops: float
    pcie_gb_per_s: float
    nvlink_gb_per_s: float = 0.0
    bf16: bool = True
    calibrated: bool = False
    prefill_efficiency: float = 0.7
    decode_efficiency: float = 0.7
    step_overhead_s: float = 0.003
    nvlink_cards: int = 0

    def __post_init__(self) -> None:
        for field in ("memory_gib", "memory_gb_per_s", "fp16_tflops", "pcie_gb_per_s"):
            if getattr(self, field) <= 0:
                raise ValueError(f"GPU {self.name} has {field} {getattr(self, field)}; expected more than 0.")


@dataclass(frozen=True, slots=True)
class Offer:
    """A machine that can be rented now, at a price, by anyone.

    Prices are of the whole machine. `network` names a private network that a replica may span; empty means none.
    `available` is how many copies can be rented. `leasable` is False for providers thunderctl only plans with.
    `estimated` names the fields that the source did not state and that were filled in with a default.
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
    estimated: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.gpu_count < 1:
            raise ValueError(f"Offer {self.offer_id} has {self.gpu_count} GPUs; expected 1 or more.")
        if self.usd_per_hour < 0:
            raise ValueError(f"Offer {self.offer_id} costs {self.usd_per_hour} $/h; expected 0 or more.")
        if self.available < 1:
            raise ValueError(f"Offer {self.offer_id} has {self.available} copies; expected 1 or more.")

    @property
    def memory_gib(self) -> float:
        """Usable memory of one of its GPUs, GiB: the machine's own figure, else the card's."""
        return self.gpu_memory_gib or self.gpu.memory_gib


@dataclass(frozen=True, slots=True)
class Link:
    """What the network between two instances gives one flow."""

    bandwidth_gbit_per_s: float
    latency_ms: float
    usd_per_gb: float = 0.0
    estimated: bool = False

    def seconds(self, size_bytes: float) -> float:
        """Time to move `size_bytes`: latency + bytes ÷ bandwidth."""
        return self.latency_ms / 1e3 + size_bytes * 8 / (self.bandwidth_gbit_per_s * 1e9)
