"""The package's tables of coefficients, written from a fit, with where every figure comes from."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from benchmarks.measured_rows import PROJECT, Rows
from benchmarks.priors import CPU_ENGINE, ENGINES, NEAREST
from planner.costmodel.coefficients import NO_LIMIT, Coefficients, Efficiency, EngineProfile
from planner.gpus import gpu_types

DATA = PROJECT / "planner" / "data"

ABOUT_EFFICIENCIES = """
What GPUs reach of their rated speeds, by architecture; the columns' meanings: planner/costmodel/coefficients.py.
Fitted by benchmarks/fit_cost_model.py to the rows that source counts: Helix (Thesys-lab/Helix-ASPLOS25, Apache-2.0),
Vidur (microsoft/vidur, MIT), splitwise-sim (Mutinifni/splitwise-sim, MIT), AIConfigurator (aiconfigurator-core 0.12.0,
Apache-2.0); nvlink_share from Vidur's network tables; "-published": figures of papers, benchmarks/data/.
GPUs in measured_gpus have measured rows of their own; all others are uncalibrated.
"""
ABOUT_ENGINES = """
What engines add to the kernels; the columns' meanings: planner/costmodel/coefficients.py. An engine that is not here
is taken as its class: "eager" (kernels launched one by one; vLLM up to 0.2), "vllm-early" (CUDA graphs, but hosts that
take long to prepare a step, a guess; vLLM 0.3 to 0.5) or "vllm" (all later ones). "vllm-0.4.0" is Helix's, whose stages
run in virtual machines. Times are those on A100 servers; host_time of efficiencies.csv scales them.
Fitted by benchmarks/fit_cost_model.py.
"""
ABOUT_CONSTANTS = """
What is alike on all GPUs. Fitted by benchmarks/fit_cost_model.py together with efficiencies.csv and engines.csv.
"""
MEANINGS = {
    "kernel_s": ("s", "latency of one matrix or attention kernel"),
    "elementwise_kernel_s": ("s", "latency of one element-wise kernel"),
    "row_gb_per_s": ("GB/s", "rate at which one token's row goes through an element-wise kernel"),
    "hidden_passes": ("1", "times that norms and residuals read or write the hidden state in a layer"),
    "kv_share": ("1", "rate of reading KV over the rate of reading weights"),
    "attention_share": ("1", "rate of prefill attention over the rate of large GEMMs"),
    "overlap": ("1", "p of (computing^p + reading^p)^(1/p) in a matrix product"),
    "nvlink_alpha_s": ("s", "latency of an all-reduce over NVLink"),
    "pcie_gb_per_s": ("GB/s", "bus rate of an all-reduce between cards without NVLink"),
    "pcie_alpha_s": ("s", "latency of an all-reduce between cards without NVLink"),
    "pcie_direct_share": (
        "1",
        "part of PCIe's one-way rate that an all-reduce between cards with direct access reaches",
    ),
    "vm_network_gb_per_s": ("GB/s", "rate of a pipeline hop between virtual machines of a cloud"),
    "vm_network_alpha_s": ("s", "latency of such a hop"),
}


def write_tables(found: Coefficients, rows: Rows, folder: Path = DATA) -> None:
    """The three tables of the package; each says where its figures come from."""
    gpus: dict[str, dict[str, int]] = {}
    for batch in rows.batches:
        counts = gpus.setdefault(batch.group.gpu, {})
        counts[batch.group.source] = counts.get(batch.group.source, 0) + len(batch.measured_s)
    measured = {gpu for gpu, counts in gpus.items() if any(not name.endswith("-published") for name in counts)}
    efficiencies = [
        {
            "architecture": name,
            **{field.name: _figure(getattr(one, field.name)) for field in fields(Efficiency)},
            "measured_gpus": "|".join(sorted(gpu for gpu in measured if gpu_types()[gpu].architecture == name)),
            "source": _provenance(name, gpus),
        }
        for name, one in found.architectures.items()
    ]
    _write(folder / "efficiencies.csv", ABOUT_EFFICIENCIES, efficiencies)
    engines = [
        {"engine": one.name}
        | {field.name: _figure(getattr(one, field.name)) for field in fields(EngineProfile)[1:-1]}
        | {
            "calibrated": "yes" if one.calibrated else "no",
            "source": ENGINES.get(one.name, "a guess" if one is CPU_ENGINE else "its class"),
        }
        for one in found.engines.values()
    ]
    _write(folder / "engines.csv", ABOUT_ENGINES, engines)
    constants = [
        {"name": name, "value": _figure(getattr(found.constants, name)), "unit": unit, "meaning": meaning}
        for name, (unit, meaning) in MEANINGS.items()
    ]
    _write(folder / "constants.csv", ABOUT_CONSTANTS, constants)


def _provenance(architecture: str, gpus: Mapping[str, Mapping[str, int]]) -> str:
    """Which rows, of which GPU and source; or from whom it is borrowed."""
    own = {gpu: counts for gpu, counts in gpus.items() if gpu_types()[gpu].architecture == architecture}
    if own:
        return "; ".join(f"{gpu}: {' + '.join(f'{n} {name}' for name, n in own[gpu].items())}" for gpu in sorted(own))
    known = {gpu_types()[gpu].architecture for gpu in gpus}
    return next((f"borrowed from {near}" for near in NEAREST.get(architecture, ()) if near in known), "a guess")


def _figure(value: float) -> str:
    """Three significant digits; empty for no limit."""
    return "" if value == NO_LIMIT else f"{value:.3g}"


def _write(path: Path, about: str, rows: Sequence[Mapping[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("".join(f"# {line}\n" for line in about.strip().splitlines()))
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
