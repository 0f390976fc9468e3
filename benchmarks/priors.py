"""What the fit of the cost model starts from: expected values, who borrows from whom, and what is not fitted.

Values come from common knowledge of GPUs and engines, and, where nothing better was known, from the size of the
measured figures themselves: a held-out fit is not blind to those last ones (latencies, PCIe's rate, host times).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from planner.costmodel.coefficients import ON_CPU, Efficiency, EngineProfile

NEAREST = {
    "turing": ("ga10x", "volta", "ada"),
    "volta": ("ga100", "turing"),
    "ga100": ("hopper", "ga10x", "volta"),
    "ga10x": ("ga100", "ada", "turing"),
    "ada": ("ga10x", "hopper"),
    "hopper": ("ga100", "ada"),
    "blackwell": ("hopper", "ga100"),
    "blackwell-rtx": ("ada", "hopper", "ga10x"),
}
"""Whose efficiencies an architecture borrows that has no rows of its own, nearest first."""
POWER_BOUND = {"ada": 0.7, "turing": 0.4, "blackwell-rtx": 0.7}
"""TFLOP/s that a watt sustains, where cards get less power than their tensor cores could use (L4, L40S, T4)."""
PCIE_DIRECT_SHARE = 0.7
"""Without the network tables."""
CPU = Efficiency(0.7, 0.7, 0.7, 1.0, 1.0)
CPU_ENGINE = EngineProfile(ON_CPU, step_s=6e-3, host_overlap=1.0)
"""Guesses: `thunderctl doctor --calibrate` measures the machine at hand. On a CPU, host and "GPU" take turns."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What a coefficient is expected to be, and by which factor it may well be off (natural log)."""

    value: float
    spread: float


PRIORS: Mapping[str, Prior] = {
    "gemm_share": Prior(0.76, 0.3),
    "read_share": Prior(0.85, 0.1),
    "elementwise_share": Prior(0.55, 0.4),
    "kernel_s": Prior(4e-6, 0.3),
    "elementwise_kernel_s": Prior(4e-6, 0.3),
    "row_gb_per_s": Prior(10.0, 0.5),
    "hidden_passes": Prior(8.0, 0.3),
    "kv_share": Prior(0.95, 0.1),
    "attention_share": Prior(0.65, 0.15),
    "overlap": Prior(3.0, 0.2),
    "nvlink_alpha_s": Prior(12e-6, 0.4),
    "pcie_gb_per_s": Prior(4.0, 0.2),
    "pcie_alpha_s": Prior(50e-6, 0.5),
    "vm_network_gb_per_s": Prior(1.0, 0.3),
    "vm_network_alpha_s": Prior(3e-3, 0.7),
    "host_overlap": Prior(4.0, 0.2),
    "graphs.step_s": Prior(2.5e-3, 0.5),
    "graphs.sequence_s": Prior(0.03e-3, 0.7),
    "eager.layer_s": Prior(0.5e-3, 0.3),
    "eager.sequence_s": Prior(0.2e-3, 0.7),
    "eager.prompt_s": Prior(20e-3, 0.5),
    "eager.kv_reread": Prior(0.1, 0.5),
    "helix.step_s": Prior(10e-3, 0.5),
    "early.sequence_s": Prior(0.1e-3, 0.7),
    "eager.elementwise_factor": Prior(1.5, 0.5),
    "eager.collective_share": Prior(0.5, 0.5),
}
DEVIATION = {"gemm_share": 0.06, "read_share": 0.06, "elementwise_share": 0.3}
"""How far an architecture's efficiency may well lie from the others' (natural log)."""
ENGINES = {"trtllm-1.0.0rc3": "aiconfigurator", "vllm-0.4.0": "helix-pipeline", "vllm-2023": "splitwise-sim"}
"""Engines with rows of whole steps → the source of those."""
EARLY_STEP_S = 6e-3
"""Not fitted: what hosts of vLLM 0.3 to 0.5 took for a step. Helix's rows are of its own stages in virtual machines."""
HOST_TIME = {"hopper": 0.65, "blackwell": 0.65}
"""Not fitted: the Splitwise paper has H100 servers decode a host-bound step in about 31 ms where A100 ones take 52."""


def priors(architectures: Iterable[str]) -> dict[str, Prior]:
    """Of every coefficient, each architecture's deviations among them."""
    found = dict(PRIORS)
    for name in architectures:
        found |= {f"{name}.{key}": Prior(1.0, spread) for key, spread in DEVIATION.items()}
        if name in POWER_BOUND:
            found[f"{name}.tflops_per_watt"] = Prior(POWER_BOUND[name], 0.3)
    return found
