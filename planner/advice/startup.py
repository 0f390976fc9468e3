"""Time to first token from zero: what an instance goes through from the order to an engine that serves.

All are estimates until machines were measured, but for engines on this host's CPU. Every instance is paid for from its
own start; the fleet serves once the slowest one does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from planner.deployment import Instance
from planner.gpus import gpu_named
from planner.llm import LlmSpec
from planner.requirements import ENVIRONMENT_DISK_GB

BOOT_S, LOCAL_BOOT_S = 180.0, 1.0
"""From the order until the machine answers; a local one is a folder."""
ENVIRONMENT_DOWNLOAD_GB, UNPACK_GB_PER_S = 5.0, 0.3
"""Packages of CUDA's libraries, torch and vLLM, and how fast they are written out."""
DOWNLOAD_EFFICIENCY = 0.7
"""Part of an offer's download speed that a hub or registry fills."""
LOAD_GB_PER_S = 1.0
"""Weights from disk to GPU."""
ENGINE_START_S, CPU_ENGINE_START_S = 90.0, 25.0
"""vLLM's own start: processes, compilation, warm-up."""


@dataclass(frozen=True, slots=True)
class Startup:
    """Seconds of each piece, one after the other."""

    boot_s: float
    environment_s: float
    download_s: float
    load_s: float
    engine_s: float

    @property
    def seconds(self) -> float:
        return self.boot_s + self.environment_s + self.download_s + self.load_s + self.engine_s


def startup(llm: LlmSpec, instance: Instance) -> Startup:
    """Of one instance. A local one has the environment and the weights; a GPU's downloads both at its own speed."""
    weights_gb = llm.weight_bytes / 1e9
    has_cuda = gpu_named(instance.gpu).compute_capability > 0
    own = instance.provider == "local"
    gb_per_s = instance.inet_down_gbit_per_s / 8 * DOWNLOAD_EFFICIENCY
    environment_s = ENVIRONMENT_DOWNLOAD_GB / gb_per_s + ENVIRONMENT_DISK_GB / UNPACK_GB_PER_S
    return Startup(
        boot_s=LOCAL_BOOT_S if own else BOOT_S,
        environment_s=0.0 if own else environment_s,
        download_s=0.0 if own else weights_gb / gb_per_s,
        load_s=weights_gb / LOAD_GB_PER_S,
        engine_s=ENGINE_START_S if has_cuda else CPU_ENGINE_START_S,
    )


def slowest_startup(llm: LlmSpec, instances: Sequence[Instance]) -> Startup:
    """Of the instance that serves last."""
    return max((startup(llm, instance) for instance in instances), key=lambda one: one.seconds)
