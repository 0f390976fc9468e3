"""How well the analytic rates of single replicas follow simulation; writes `benchmarks/results/replica_rates.md`.

.venv/bin/python -m benchmarks.replica_rates

A fleet of replicas alike is dealt requests in rotation. Simulation says how many each keeps up; beside it stand the
rate of a replica in a fleet of that size, which plans are scored by, and that of one which sees all arrivals alone.
"""

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.arguments import takes_none
from planner.choosing.notches import highest_rate
from planner.demand import demand_of, longest_request
from planner.deployment import Phase
from planner.evaluate import Part, measured_at
from planner.gpus import gpu_named
from planner.models import llm_named
from planner.parallel.capacity import prefill_rps, targets
from planner.parallel.layouts import Capacities, GpuKind, Layout, Share
from planner.parallel.task import Task
from planner.simulation.scenario import Lane, Server
from planner.traces import workload_named
from planner.workload import Slo

TARGET = Path(__file__).parent / "results" / "replica_rates.md"
COMMAND = ".venv/bin/python -m benchmarks.replica_rates"
WORKLOADS, REPLICAS = ("coding", "conversation"), (1, 4, 16)
GROUPS = (
    ("qwen3-32b", "H100-SXM5-80GB", 1, Slo(2.0, 0.15)),
    ("qwen3-32b", "H100-SXM5-80GB", 2, Slo(2.0, 0.15)),
    ("qwen3-32b", "H100-NVL", 1, Slo(2.0, 0.15)),
    ("qwen3-32b", "A100-SXM4-80GB", 1, Slo(2.0, 0.15)),
    ("qwen3-32b", "L40S", 2, Slo(2.0, 0.15)),
    ("qwen3-32b", "RTX4090", 4, Slo(2.0, 0.15)),
    ("llama-30b", "A40", 2, Slo(4.0, 0.1)),
    ("llama-30b", "A40", 4, Slo(4.0, 0.1)),
    ("llama-30b", "A40", 8, Slo(4.0, 0.1)),
    ("llama-3.1-8b", "RTX4090", 1, Slo(1.0, 0.05)),
    ("llama-3.1-70b", "H100-SXM5-80GB", 4, Slo(4.0, 0.15)),
)
ROUNDS, SEED = 4, 1
"""A fleet's rate and that of its replicas depend on each other: solved in so many rounds."""


@dataclass(frozen=True, slots=True)
class Row:
    """A layout in a phase and its requests/s: as if alone, in its fleet, and simulated there."""

    model: str
    workload: str
    gpus: str
    layout: str
    phase: Phase
    replicas: int
    alone_rps: float
    rated_rps: float
    simulated_rps: float


def main() -> None:
    rows = []
    for row in _rows():
        rows.append(row)
        print(f"{row.model} {row.workload} {row.gpus} {row.phase} x{row.replicas}", file=sys.stderr)
    text = "\n".join(_written(rows)) + "\n"
    TARGET.write_text(text, encoding="utf-8")
    print(text)


def _rows() -> Iterator[Row]:
    for model, gpu, gpus, slo in GROUPS:
        llm = llm_named(model)
        longest = longest_request(llm, 8192)
        for workload in WORKLOADS:
            task = Task(llm, demand_of(workload_named(workload), longest), slo, longest)
            shape = (Share(GpuKind(gpu_named(gpu), gpu_named(gpu).memory_gib, nvlink=False), gpus),)
            for phase in (Phase.MIXED, Phase.PREFILL):
                best = Capacities(task).in_fleet(np.inf).best(shape, phase)
                for replicas in REPLICAS if best else ():
                    yield _row(task, workload, best[0], phase, replicas, f"{gpus} x {gpu}")


def _row(task: Task, workload: str, layout: Layout, phase: Phase, replicas: int, gpus: str) -> Row:
    alone = rated = _rate(task, layout, phase)
    for _ in range(ROUNDS):
        rated = _rate(task.in_fleet(rated * replicas), layout, phase)
    return Row(
        model=task.llm.name,
        workload=workload,
        gpus=gpus,
        layout=f"{layout.tp}x{layout.pp}",
        phase=phase,
        replicas=replicas,
        alone_rps=alone,
        rated_rps=rated,
        simulated_rps=_simulated(task, layout, phase, replicas, rated),
    )


def _rate(task: Task, layout: Layout, phase: Phase) -> float:
    if phase is Phase.MIXED:
        return Capacities(task).mixed_rps(layout)
    return prefill_rps(layout.pace, task.sample, task.slo, np.zeros(1), layout.kv_tokens)


def _simulated(task: Task, layout: Layout, phase: Phase, replicas: int, start_rps: float) -> float:
    """Prefill alone is requests of one token, which are in time one decode step before TTFT, as often as it takes."""
    demand, slo = task.demand, task.slo
    if phase is Phase.PREFILL:
        demand = replace(demand, output=np.ones_like(demand.output))
        slo = Slo(slo.ttft_s - slo.tpot_s, slo.tpot_s, targets(slo).prefill)
    part = Part((Server(layout.pace, layout.kv_tokens),), (Lane(0, 0, 1.0),), 1 / replicas, replicas)

    def attains(rate_rps: float) -> bool:
        return measured_at(rate_rps, demand, slo, [part], seed=SEED).slo_attainment >= slo.attainment

    return highest_rate(attains, start_rps * replicas, np.inf) / replicas if start_rps > 0 else 0.0


def _written(rows: Sequence[Row]) -> Iterator[str]:
    yield from (
        "# Analytic rates of replicas beside simulation",
        "",
        f"Written by `{COMMAND}`. Requests/s of each of so many replicas alike that are dealt requests in rotation:",
        "simulated, rated as one of such a fleet (which plans are scored by), and rated as if it saw all arrivals.",
        "Nothing here is measured on GPUs.",
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}.",
        "",
        "| model | workload | GPUs | TP x PP | phase | replicas | simulated | rated | ratio | as if alone | ratio |",
        "|---|---|---|---|---|--:|--:|--:|--:|--:|--:|",
    )
    seen = [row for row in rows if row.simulated_rps > 0]
    for row in seen:
        yield (
            f"| {row.model} | {row.workload} | {row.gpus} | {row.layout} | {row.phase} | {row.replicas} "
            f"| {row.simulated_rps:.3f} | {row.rated_rps:.3f} | {row.rated_rps / row.simulated_rps:.2f} "
            f"| {row.alone_rps:.3f} | {row.alone_rps / row.simulated_rps:.2f} |"
        )
    yield ""
    for phase in (Phase.MIXED, Phase.PREFILL):
        own = [row for row in seen if row.phase is phase]
        yield f"* {phase}, rated ÷ simulated: {_spread([row.rated_rps / row.simulated_rps for row in own])}"
        yield f"* {phase}, as if alone ÷ simulated: {_spread([row.alone_rps / row.simulated_rps for row in own])}"


def _spread(ratios: Sequence[float]) -> str:
    return f"median {median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f} ({len(ratios)} rows)"


if __name__ == "__main__":
    takes_none(__doc__)
    main()
