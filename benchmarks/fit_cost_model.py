"""Fit the cost model's coefficients to published measurements and write them as the package's tables.

    .venv/bin/python -m benchmarks.fit_cost_model

One least-squares fit over all sources, of the log of predicted over measured, so that an error of +10 % counts alike
at 1 ms and at 1 s. Every group (source, GPU, phase, kind) weighs the same, whatever its number of rows. Each
coefficient has a prior that physics or common knowledge gives; a weak pull towards it decides what the data leave
open. Large errors count linearly (soft L1), so that a wrong row cannot bend a coefficient.
"""

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from scipy.optimize import least_squares

from benchmarks.measured_rows import MEASURED, PROJECT, Floats, Rows, read_rows, read_table
from planner.costmodel.coefficients import (
    EAGER,
    GRAPHS,
    NO_LIMIT,
    ON_CPU,
    Coefficients,
    Constants,
    Efficiency,
    EngineProfile,
)
from planner.gpus import gpu_types

Found = TypeVar("Found")

DATA = PROJECT / "planner" / "data"
PULL = 0.024
"""Weight of a prior against one group's mean error, in units of the prior's own spread."""
SOFT = 0.05
"""Relative error from which rows count linearly."""

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
    "vm_network_alpha_s": Prior(1e-3, 0.7),
    "host_overlap": Prior(4.0, 0.2),
    "graphs.step_s": Prior(2.5e-3, 0.5),
    "graphs.sequence_s": Prior(0.03e-3, 0.7),
    "eager.layer_s": Prior(0.5e-3, 0.3),
    "eager.sequence_s": Prior(0.2e-3, 0.7),
    "eager.prompt_s": Prior(20e-3, 0.5),
    "eager.kv_reread": Prior(0.1, 0.5),
    "vllm-0.4.0.step_s": Prior(8e-3, 0.7),
    "vllm-2023.elementwise_factor": Prior(1.5, 0.5),
    "vllm-2023.collective_share": Prior(0.5, 0.5),
}
DEVIATION = {"gemm_share": 0.1, "read_share": 0.06, "elementwise_share": 0.3}
"""How far an architecture's efficiency may well lie from the others' (natural log)."""
ENGINES = {"trtllm-1.0.0rc3": "aiconfigurator", "vllm-0.4.0": "helix-pipeline", "vllm-2023": "splitwise-sim"}
"""Engines with rows of whole steps → the source of those."""


ABOUT_EFFICIENCIES = """
What GPUs reach of their rated speeds, by architecture; the columns' meanings: planner/costmodel/coefficients.py.
Fitted by benchmarks/fit_cost_model.py to the rows that source counts: Helix (Thesys-lab/Helix-ASPLOS25, Apache-2.0),
Vidur (microsoft/vidur, MIT), splitwise-sim (Mutinifni/splitwise-sim, MIT), AIConfigurator (aiconfigurator-core 0.12.0,
Apache-2.0); nvlink_share from Vidur's network tables; "-published": figures of papers, benchmarks/data/.
GPUs in measured_gpus have measured rows of their own; all others are uncalibrated.
"""
ABOUT_ENGINES = """
What engines add to the kernels; the columns' meanings: planner/costmodel/coefficients.py. An engine that is not here
is taken as its class: "eager" (kernels launched one by one; vLLM up to 0.5) or "vllm" (steps replayed as CUDA graphs),
whose figures are those of the measured engines in it. Fitted by benchmarks/fit_cost_model.py.
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
    "vm_network_gb_per_s": ("GB/s", "rate of a pipeline hop between virtual machines of a cloud"),
    "vm_network_alpha_s": ("s", "latency of such a hop"),
}


def priors(architectures: Iterable[str]) -> dict[str, Prior]:
    """Of every coefficient, each architecture's deviations among them."""
    found = dict(PRIORS)
    for name in architectures:
        found |= {f"{name}.{key}": Prior(1.0, spread) for key, spread in DEVIATION.items()}
        if name in POWER_BOUND:
            found[f"{name}.tflops_per_watt"] = Prior(POWER_BOUND[name], 0.3)
    return found


def fit(rows: Rows, *, network: bool = True) -> Coefficients:
    """The coefficients that these rows give; `network`: with the rates of the network tables."""
    known = sorted({gpu_types()[batch.group.gpu].architecture for batch in rows.batches})
    expected = priors(known)
    names, start = list(expected), np.log([prior.value for prior in expected.values()])
    spread = np.array([prior.spread for prior in expected.values()])
    shares = nvlink_shares() if network else {}
    sources = frozenset(batch.group.source for batch in rows.batches)
    weight = 1 / np.sqrt(np.bincount(rows.group_of_row))[rows.group_of_row]
    target = np.log(rows.measured_s)

    def residuals(point: Floats) -> Floats:
        found = coefficients(dict(zip(names, np.exp(point), strict=True)), known, shares, sources)
        return np.concatenate([weight * (np.log(rows.predicted_s(found)) - target), PULL * (point - start) / spread])

    best = least_squares(residuals, start, loss="soft_l1", f_scale=SOFT).x
    return coefficients(dict(zip(names, np.exp(best), strict=True)), known, shares, sources)


def coefficients(
    values: Mapping[str, float], known: Iterable[str], nvlink: Mapping[str, float], sources: frozenset[str]
) -> Coefficients:
    """The cost model's own words for a point of the fit."""
    measured = {name: _efficiency(values, name, nvlink) for name in known}
    everywhere = {name: measured.get(name) or _borrowed(name, measured, nvlink) for name in NEAREST} | {"cpu": CPU}
    constants = Constants(**{field: values[field] for field in Constants.__dataclass_fields__})
    return Coefficients(constants, _engines(values, sources), everywhere)


def nvlink_shares() -> dict[str, float]:
    """Architecture → part of the rated one-way NVLink rate that large all-reduces inside a machine reach (median)."""
    found: dict[str, list[float]] = {}
    for row in read_table(MEASURED / "network_alpha_beta.csv"):
        gpu = gpu_types()[row["gpu"]]
        if row["collective"] == "all_reduce" and row["link"] == "NVSwitch":
            found.setdefault(gpu.architecture, []).append(float(row["bus_large_gb_s"]) / gpu.nvlink_gb_per_s)
    return {name: float(np.median(shares)) for name, shares in found.items()}


def _efficiency(values: Mapping[str, float], name: str, nvlink: Mapping[str, float]) -> Efficiency:
    shares = {key: min(1.0, values[key] * values[f"{name}.{key}"]) for key in DEVIATION}
    limit = {"tflops_per_watt": values[f"{name}.tflops_per_watt"]} if name in POWER_BOUND else {}
    return Efficiency(**shares, nvlink_share=_nearest(name, nvlink, Efficiency().nvlink_share), **limit)


def _borrowed(name: str, measured: Mapping[str, Efficiency], nvlink: Mapping[str, float]) -> Efficiency:
    """The nearest architecture's; its limit of power only where the architecture's own cards are bound by power."""
    base = _nearest(name, measured, Efficiency())
    limit = NO_LIMIT
    if name in POWER_BOUND:
        limit = base.tflops_per_watt if base.tflops_per_watt < NO_LIMIT else POWER_BOUND[name]
    return replace(base, nvlink_share=_nearest(name, nvlink, base.nvlink_share), tflops_per_watt=limit)


def _nearest(name: str, table: Mapping[str, Found], otherwise: Found) -> Found:
    return next((table[near] for near in (name, *NEAREST[name]) if near in table), otherwise)


def _engines(values: Mapping[str, float], sources: frozenset[str]) -> dict[str, EngineProfile]:
    """The two classes, and the engines that have rows here.

    Of the two eager engines one was measured with element-wise work and collectives as fast as kernels alone: the class
    stands between the two, at their geometric mean.
    """
    overlap = values["host_overlap"]
    graphs = EngineProfile(
        GRAPHS, values["graphs.step_s"], sequence_s=values["graphs.sequence_s"], host_overlap=overlap
    )
    eager = EngineProfile(
        EAGER,
        layer_s=values["eager.layer_s"],
        sequence_s=values["eager.sequence_s"],
        prompt_s=values["eager.prompt_s"],
        kv_reread=values["eager.kv_reread"],
        elementwise_factor=values["vllm-2023.elementwise_factor"] ** 0.5,
        collective_share=min(1.0, values["vllm-2023.collective_share"]) ** 0.5,
        host_overlap=overlap,
    )
    named = {
        "trtllm-1.0.0rc3": replace(graphs, name="trtllm-1.0.0rc3", calibrated=True),
        "vllm-0.4.0": replace(
            eager,
            name="vllm-0.4.0",
            step_s=values["vllm-0.4.0.step_s"],
            prompt_s=0.0,
            elementwise_factor=1.0,
            collective_share=1.0,
            calibrated=True,
        ),
        "vllm-2023": replace(
            eager,
            name="vllm-2023",
            elementwise_factor=values["vllm-2023.elementwise_factor"],
            collective_share=min(1.0, values["vllm-2023.collective_share"]),
            calibrated=True,
        ),
    }
    known = {GRAPHS: graphs, EAGER: eager, ON_CPU: CPU_ENGINE}
    return known | {name: named[name] for name in named if ENGINES[name] in sources}


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


def main() -> None:
    rows = read_rows()
    write_tables(fit(rows), rows)
    print(f"fitted {len(rows.measured_s)} rows; wrote efficiencies.csv, engines.csv and constants.csv", file=sys.stderr)


if __name__ == "__main__":
    main()
