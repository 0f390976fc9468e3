"""The cost model's coefficients: few, each with a meaning and a unit, none per measured row.

`benchmarks/fit_cost_model.py` fits them to published measurements and writes the three tables that are read here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from types import MappingProxyType

from planner.tables import table

NO_LIMIT = float("inf")


@dataclass(frozen=True, slots=True)
class Efficiency:
    """What a GPU reaches of its rated speeds.

    `gemm_share`: of the dense tensor-core rate, by large matrix products. `read_share`: of the memory bandwidth, by
    weights and KV. `elementwise_share`: of it, by norms, activations and rotary embedding. `nvlink_share`: of the
    one-way NVLink rate, by an all-reduce. `tflops_per_watt` is what the board's power sustains. `tile_tokens` is how
    many tokens a matrix kernel works on together. `attention_factor` is how far attention over a prompt is off the part
    of the matrix rate that it reaches on GPUs (`Constants.attention_share`).
    """

    gemm_share: float = 0.75
    read_share: float = 0.82
    elementwise_share: float = 0.6
    nvlink_share: float = 0.65
    tile_tokens: float = 128.0
    host_time: float = 1.0
    tflops_per_watt: float = NO_LIMIT
    attention_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """What an engine adds to the kernels. The host prepares a pass while the GPU still works on the one before.

    `step_s` a pass costs the host at least, `layer_s` more for each layer where kernels are launched one by one (no
    CUDA graphs), `sequence_s` for each sequence in it, `prompt_s` where it carries a prompt. `kv_reread` is the part
    of a KV head that attention reads again for each further query head of its group; `elementwise_factor` the memory
    traffic of element-wise work against fused kernels; `collective_share` of NVLink's rate is reached.
    `host_overlap` is the p of (gpu^p + host^p)^(1/p): 1 where the host and the GPU take turns. `host_share` is the part
    of its machine that a busy engine takes, where engines share one: together they get no more than all of it.
    `stream_s` are seconds of the whole machine that front end, agent and router take for each token sent, beside it.
    """

    name: str
    step_s: float = 0.0
    layer_s: float = 0.0
    sequence_s: float = 0.0
    prompt_s: float = 0.0
    kv_reread: float = 0.0
    elementwise_factor: float = 1.0
    collective_share: float = 1.0
    host_overlap: float = 4.0
    host_share: float = 0.0
    stream_s: float = 0.0
    calibrated: bool = False

    def on_hosts(self, time: float) -> "EngineProfile":
        """The same engine on hosts that take `time` times as long for the same work."""
        work = {name: getattr(self, name) * time for name in ("step_s", "layer_s", "sequence_s", "prompt_s")}
        return replace(self, **work)


@dataclass(frozen=True, slots=True)
class Constants:
    """What is alike on all GPUs; the meaning of each stands in `planner/data/constants.csv`."""

    kernel_s: float
    elementwise_kernel_s: float
    row_gb_per_s: float
    hidden_passes: float
    kv_share: float
    attention_share: float
    overlap: float
    nvlink_alpha_s: float
    pcie_gb_per_s: float
    pcie_alpha_s: float
    pcie_direct_share: float
    vm_network_gb_per_s: float
    vm_network_alpha_s: float


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Everything fitted: constants, engines by name, efficiencies by GPU architecture."""

    constants: Constants
    engines: Mapping[str, EngineProfile]
    architectures: Mapping[str, Efficiency]

    def engine(self, name: str) -> EngineProfile:
        """The profile of this engine, or of the class of engines that it belongs to."""
        known = self.engines.get(name)
        if known is None:
            known = self.engines[next((kind for kind, names in CLASSES.items() if names.match(name)), GRAPHS)]
        return known


EAGER, EARLY, GRAPHS = "eager", "vllm-early", "vllm"
"""Classes of engines: kernels launched one by one from Python; steps replayed as CUDA graphs by a host that took long
to prepare them; and by hosts that work ahead."""
ON_CPU = "vllm-cpu"
"""The engine of the "CPU" GPU type."""
CLASSES = {
    EAGER: re.compile(r"vllm-(2023|v?0\.[0-2](\.|$))|hf\b|transformers", re.IGNORECASE),
    EARLY: re.compile(r"vllm-v?0\.[3-5](\.|$)", re.IGNORECASE),
}
"""Names of the engines of a class; all others are of the last."""


@cache
def fitted() -> Coefficients:
    """The package's own coefficients."""
    constants = {row["name"]: float(row["value"]) for row in table("constants")}
    return Coefficients(
        constants=Constants(**constants),
        engines=MappingProxyType({row["engine"]: _engine(row) for row in table("engines")}),
        architectures=MappingProxyType({row["architecture"]: _efficiency(row) for row in table("efficiencies")}),
    )


@cache
def measured_gpus() -> frozenset[str]:
    """Names of the GPUs that have measured rows behind their efficiencies; the others borrow their architecture's."""
    return frozenset(gpu for row in table("efficiencies") for gpu in row["measured_gpus"].split("|") if gpu)


def _engine(row: Mapping[str, str]) -> EngineProfile:
    numbers = {field.name: float(row[field.name]) for field in fields(EngineProfile)[1:-1] if field.name in row}
    return EngineProfile(row["engine"], **numbers, calibrated=row["calibrated"] == "yes")


def _efficiency(row: Mapping[str, str]) -> Efficiency:
    known = (field.name for field in fields(Efficiency) if field.name in row)
    return Efficiency(**{name: float(row[name] or NO_LIMIT) for name in known})
