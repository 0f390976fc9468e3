"""Fit the cost model's coefficients to published measurements and write them as the package's tables.

    .venv/bin/python -m benchmarks.fit_cost_model

One least-squares fit over all sources, of the log of predicted over measured, so that an error of +10 % counts alike
at 1 ms and at 1 s. Every group (source, GPU, phase, kind) weighs the same, whatever its number of rows. Each
coefficient has a prior that physics or common knowledge gives; a weak pull towards it decides what the data leave
open. Large errors count linearly (soft L1), so that a wrong row cannot bend a coefficient.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
from scipy.optimize import least_squares

from benchmarks.arguments import takes_none
from benchmarks.coefficient_tables import write_tables
from benchmarks.measured_rows import MEASURED, Floats, Rows, read_rows, read_table
from benchmarks.priors import (
    CPU,
    CPU_ENGINE,
    DEVIATION,
    EARLY_STEP_S,
    ENGINES,
    HOST_TIME,
    NEAREST,
    PCIE_DIRECT_SHARE,
    POWER_BOUND,
    priors,
)
from planner.costmodel.coefficients import (
    EAGER,
    EARLY,
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

PULL = 0.024
"""Weight of a prior against one group's mean error, in units of the prior's own spread."""
SOFT = 0.05
"""Relative error from which rows count linearly."""


def fit(rows: Rows, *, network: bool = True) -> Coefficients:
    """The coefficients that these rows give; `network`: with the rates of the network tables."""
    known = sorted({gpu_types()[batch.group.gpu].architecture for batch in rows.batches})
    expected = priors(known)
    names, start = list(expected), np.log([prior.value for prior in expected.values()])
    spread = np.array([prior.spread for prior in expected.values()])
    shares = link_shares() if network else {}
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
    fixed = {"pcie_direct_share": nvlink.get("pcie", PCIE_DIRECT_SHARE)}
    constants = Constants(**{name: fixed.get(name) or values[name] for name in Constants.__dataclass_fields__})
    return Coefficients(constants, _engines(values, sources), everywhere)


def link_shares() -> dict[str, float]:
    """Architecture → part of the rated one-way NVLink rate that large all-reduces inside a machine reach (median).

    `pcie`: of PCIe's one-way rate, by four cards of which NVLink joins only pairs.
    """
    found: dict[str, list[float]] = {}
    for row in read_table(MEASURED / "network_alpha_beta.csv"):
        gpu, bus = gpu_types()[row["gpu"]], float(row["bus_large_gb_s"] or 0)
        if row["collective"] == "all_reduce" and row["link"] == "NVSwitch":
            found.setdefault(gpu.architecture, []).append(bus / gpu.nvlink_gb_per_s)
        if row["collective"] == "all_reduce" and "PCIe between pairs" in row["link"]:
            found.setdefault("pcie", []).append(bus / gpu.pcie_gb_per_s)
    return {name: float(np.median(shares)) for name, shares in found.items()}


def _efficiency(values: Mapping[str, float], name: str, nvlink: Mapping[str, float]) -> Efficiency:
    shares = {key: min(1.0, values[key] * values[f"{name}.{key}"]) for key in DEVIATION}
    limit = {"tflops_per_watt": values[f"{name}.tflops_per_watt"]} if name in POWER_BOUND else {}
    return Efficiency(
        **shares,
        nvlink_share=_nearest(name, nvlink, Efficiency().nvlink_share),
        host_time=HOST_TIME.get(name, 1.0),
        **limit,
    )


def _borrowed(name: str, measured: Mapping[str, Efficiency], nvlink: Mapping[str, float]) -> Efficiency:
    """The nearest architecture's; its limit of power only where the architecture's own cards are bound by power."""
    base = _nearest(name, measured, Efficiency())
    limit = NO_LIMIT
    if name in POWER_BOUND:
        limit = base.tflops_per_watt if base.tflops_per_watt < NO_LIMIT else POWER_BOUND[name]
    return replace(
        base,
        nvlink_share=_nearest(name, nvlink, base.nvlink_share),
        tflops_per_watt=limit,
        host_time=HOST_TIME.get(name, 1.0),
    )


def _nearest(name: str, table: Mapping[str, Found], otherwise: Found) -> Found:
    return next((table[near] for near in (name, *NEAREST[name]) if near in table), otherwise)


def _engines(values: Mapping[str, float], sources: frozenset[str]) -> dict[str, EngineProfile]:
    """The classes, and the engines that have rows here, each of which stands for its class but Helix's."""
    overlap = values["host_overlap"]
    graphs = EngineProfile(
        GRAPHS, values["graphs.step_s"], sequence_s=values["graphs.sequence_s"], host_overlap=overlap
    )
    early = EngineProfile(
        EARLY,
        EARLY_STEP_S,
        sequence_s=values["early.sequence_s"],
        kv_reread=values["eager.kv_reread"],
        host_overlap=overlap,
    )
    eager = EngineProfile(
        EAGER,
        layer_s=values["eager.layer_s"],
        sequence_s=values["eager.sequence_s"],
        prompt_s=values["eager.prompt_s"],
        kv_reread=values["eager.kv_reread"],
        elementwise_factor=values["eager.elementwise_factor"],
        collective_share=min(1.0, values["eager.collective_share"]),
        host_overlap=overlap,
    )
    classes = {GRAPHS: graphs, EARLY: early, EAGER: eager, ON_CPU: CPU_ENGINE}
    helix = replace(early, step_s=values["helix.step_s"])
    members = {"trtllm-1.0.0rc3": graphs, "vllm-0.4.0": helix, "vllm-2023": eager}
    return classes | {
        name: replace(kind, name=name, calibrated=True) for name, kind in members.items() if ENGINES[name] in sources
    }


def main() -> None:
    rows = read_rows()
    write_tables(fit(rows), rows)
    print(f"fitted {len(rows.measured_s)} rows; wrote efficiencies.csv, engines.csv and constants.csv", file=sys.stderr)


if __name__ == "__main__":
    takes_none(__doc__)
    main()
