"""The words of a plan: what is rented, how GPUs form replicas, and which pairs serve which share of requests."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from planner.catalog import CODEC_GB_PER_S, GpuCalibration
from planner.llm import LlmSpec
from planner.workload import Slo, check_stream


class Phase(StrEnum):
    """What a replica does: prompt → first token, the tokens after it, or both (chunked)."""

    PREFILL = "prefill"
    DECODE = "decode"
    MIXED = "mixed"

    @property
    def prefills(self) -> bool:
        return self is not Phase.DECODE

    @property
    def decodes(self) -> bool:
        return self is not Phase.PREFILL


class Codec(StrEnum):
    """How KV crosses a route; `local` means the decode replica prefills itself and nothing crosses."""

    RAW = "raw"
    INT8 = "int8"
    INT4 = "int4"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Instance:
    """One rented machine of a plan, with the network figures of its offer, so that a plan can be rebalanced alone."""

    id: str
    offer_id: str
    provider: str
    region: str
    gpu: str
    gpu_count: int
    gpu_memory_gib: float
    usd_per_hour: float
    interruptible: bool = False
    machine: str = ""
    network: str = ""
    disk_gb: float = 0.0
    leasable: bool = True
    nvlink: bool = False
    inet_up_gbit_per_s: float = 1.0
    inet_down_gbit_per_s: float = 1.0
    egress_usd_per_gb: float = 0.0
    ingress_usd_per_gb: float = 0.0
    handover_ms: float = 0.0
    router_ms: float = 0.0
    codec_gb_per_s: float = CODEC_GB_PER_S
    availability: float = 1.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One pipeline stage: `layers` layers on equal GPUs of one instance; the number of GPUs is the TP degree."""

    instance: str
    gpus: tuple[int, ...]
    layers: int


@dataclass(frozen=True, slots=True)
class Replica:
    """One full copy of the weights, serving one phase.

    `capacity_rps` is the rate at which it still meets the SLO in its phase; `kv_capacity_tokens` what its KV holds.
    """

    id: str
    phase: Phase
    stages: tuple[Stage, ...]
    capacity_rps: float = 0.0
    kv_capacity_tokens: int = 0

    @property
    def tp(self) -> int:
        return len(self.stages[0].gpus)

    @property
    def pp(self) -> int:
        return len(self.stages)

    @property
    def instances(self) -> tuple[str, ...]:
        """The instances it runs on, in stage order, each once."""
        return tuple(dict.fromkeys(stage.instance for stage in self.stages))

    def flipped(self, phase: Phase) -> "Replica":
        return replace(self, phase=phase)


@dataclass(frozen=True, slots=True)
class Route:
    """One (prefill, decode) pair and its share of the traffic; both ends equal and codec `local`: no transfer."""

    prefill: str
    decode: str
    share: float
    codec: Codec
    bandwidth_gbit_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Predicted:
    """What simulation expects of a plan at its rate. Seconds, tokens/s, requests/s."""

    goodput_rps: float
    slo_attainment: float
    throughput_tokens_per_s: float
    ttft_p50_s: float
    ttft_p99_s: float
    tpot_p50_s: float
    tpot_p99_s: float
    usd_per_million_tokens: float
    kv_gb_per_hour: float
    calibrated: bool


@dataclass(frozen=True, slots=True)
class Bound:
    """An upper bound on the search's score over every legal plan; `gap` = 1 − objective ÷ bound."""

    goodput_rps: float
    gap: float


@dataclass(frozen=True, slots=True)
class SearchReport:
    """How the plan was found."""

    objective_rps: float
    seconds: float
    evaluations: int
    seed: int


@dataclass(frozen=True, slots=True)
class Alternative:
    """A plan this one beat, in one line."""

    name: str
    goodput_rps: float
    cost_usd_per_hour: float


@dataclass(frozen=True, slots=True)
class DemandSummary:
    """The workload a plan was made for, in its means, and how it arrives: see `Workload`."""

    name: str
    rate_rps: float
    prompt_tokens_mean: float
    output_tokens_mean: float
    burstiness: float = 1.0
    prefix_hit_share: float = 0.0

    def __post_init__(self) -> None:
        check_stream(self.name, self.burstiness, self.prefix_hit_share)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to rent, how it splits into replicas, and who serves what. Immutable; `planner/document.py` has its JSON.

    `calibrations` are the GPU types whose engines were measured on the machines themselves. `amends` is the id of the
    plan that this one took over from when a machine could not be had and another took its place.
    """

    plan_id: str
    created_at: str
    market_as_of: str
    market_source: str
    goal: str
    budget_usd_per_hour: float
    cost_usd_per_hour: float
    llm: LlmSpec
    max_model_len: int
    dtype: str
    workload: DemandSummary
    slo: Slo
    instances: tuple[Instance, ...]
    replicas: tuple[Replica, ...]
    routes: tuple[Route, ...]
    predicted: Predicted
    bound: Bound
    search: SearchReport
    alternatives: tuple[Alternative, ...] = ()
    transfer_usd_per_hour: float = 0.0
    startup_s: float = 0.0
    startup_usd: float = 0.0
    calibrations: tuple[GpuCalibration, ...] = ()
    notes: tuple[str, ...] = field(default=())
    amends: str = ""

    @property
    def spans(self) -> bool:
        """Does any replica run on several instances?"""
        return any(len(replica.instances) > 1 for replica in self.replicas)

    def replica(self, replica_id: str) -> Replica:
        return next(replica for replica in self.replicas if replica.id == replica_id)

    def instance(self, instance_id: str) -> Instance:
        return next(instance for instance in self.instances if instance.id == instance_id)
