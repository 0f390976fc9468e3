"""Write `benchmarks/results/simulator.md`: how fast the simulator is, and that its time grows with the requests alone.

Run by `.venv/bin/python -m benchmarks.simulator`. The hour is the Azure conversation trace (19,366 requests) from the
shared data beside the project or, without it, as many Poisson arrivals at its rate with the preset's lengths. Every run
is in a process of its own, on one core: one run to warm up, then the timed ones.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.arguments import takes_none
from planner.costmodel.pace import pace
from planner.demand import demand_of
from planner.evaluate import requests_at
from planner.gpus import gpu_named
from planner.llm import LlmSpec
from planner.memory import StageMemory, kv_capacity_tokens
from planner.models import llm_named
from planner.replay import requests_of
from planner.simulation.run import simulate
from planner.simulation.scenario import Epoch, Lane, Requests, Server, Wire
from planner.traces import trace_from_csv, workload_named
from thunderctl.calibration.record import Machine

ROOT = Path(__file__).parents[1]
TARGET = Path(__file__).parent / "results" / "simulator.md"
TRACE = ROOT.parent / "shared" / "data" / "traces" / "azure_conv_2023.csv"
SEED, REPEATS = 20260801, 5
MODEL, GPU, GPUS = "qwen3-32b", "A100-SXM4-40GB", 4
HOUR_REQUESTS, HOUR_RPS, MAX_MODEL_LEN = 19_366, 5.53, 8192
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
PREFILL, DECODE = 4, 8
WALL_TARGET_S, RSS_TARGET_MB = 1.0, 500
WIRE_BYTES_PER_S = 1.25e9
GROWING = "split, TP 4 PP 1"


@dataclass(frozen=True, slots=True)
class Timed:
    """One process: its fastest, median and slowest run, and the most memory it held."""

    requests: int
    events: int
    best_s: float
    median_s: float
    worst_s: float
    cpu_s: float
    peak_mb: float
    busy: float
    lost: int


def main() -> None:
    lines = header()
    hour = {fleet: timed(fleet, HOUR_REQUESTS, REPEATS, trace=True) for fleet in FLEETS}
    lines += hour_table(hour)
    lines += growth_table([timed(GROWING, size, 1, trace=False) for size in SIZES])
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"Wrote {TARGET.relative_to(ROOT)}", file=sys.stderr)


def timed(fleet: str, size: int, repeats: int, *, trace: bool) -> Timed:
    """In a fresh process, so that its memory is its own."""
    asked = [sys.executable, "-m", "benchmarks.simulator", fleet, str(size), str(repeats), str(int(trace))]
    told = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return Timed(**json.loads(told))


def measure(fleet: str, size: int, repeats: int, *, trace: bool) -> Timed:
    """Warm up, then play it as often as asked."""
    what, (servers, lanes) = played(size, trace=trace), FLEETS[fleet]()
    simulate(first(what, min(size, HOUR_REQUESTS)), servers, [Epoch(0.0, lanes)], seed=SEED)
    walls, started_cpu = [], time.process_time()
    for _ in range(repeats):
        started = time.perf_counter()
        found = simulate(what, servers, [Epoch(0.0, lanes)], seed=SEED)
        walls.append(time.perf_counter() - started)
    return Timed(
        requests=len(what.arrival_s),
        events=found.events,
        best_s=min(walls),
        median_s=statistics.median(walls),
        worst_s=max(walls),
        cpu_s=(time.process_time() - started_cpu) / repeats,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        busy=float(np.mean(found.busy_share)),
        lost=int(np.isinf(found.last_s).sum()),
    )


def played(size: int, *, trace: bool) -> Requests:
    if trace and TRACE.is_file():
        return requests_of(trace_from_csv(TRACE.read_text(encoding="utf-8"), TRACE.name))
    demand = demand_of(workload_named("conversation"), MAX_MODEL_LEN)
    return requests_at(HOUR_RPS, demand, size / HOUR_RPS, seed=SEED)


def first(what: Requests, count: int) -> Requests:
    return Requests(what.arrival_s[:count], what.prompt[:count], what.output[:count])


def split_fleet(pp: int) -> tuple[list[Server], tuple[Lane, ...]]:
    """4 prefill and 8 decode replicas, each on an instance of its own; every pair is a route."""
    llm = llm_named(MODEL)
    lanes = tuple(
        Lane(
            prefill=source,
            decode=PREFILL + target,
            share=1 / (PREFILL * DECODE),
            latency_s=0.0005,
            wire_bytes_per_token=float(llm.kv_bytes_per_token),
            wires=(Wire(f"{source} out", WIRE_BYTES_PER_S), Wire(f"{target} in", WIRE_BYTES_PER_S)),
        )
        for source in range(PREFILL)
        for target in range(DECODE)
    )
    return [server(llm, pp)] * (PREFILL + DECODE), lanes


def mixed_fleet(pp: int) -> tuple[list[Server], tuple[Lane, ...]]:
    """12 replicas that do both."""
    replicas = PREFILL + DECODE
    return [server(llm_named(MODEL), pp)] * replicas, tuple(Lane(i, i, 1 / replicas) for i in range(replicas))


FLEETS = {
    f"{kind}, TP {GPUS // pp} PP {pp}": partial(fleet, pp)
    for pp in (1, 2, 4)
    for kind, fleet in (("split", split_fleet), ("mixed", mixed_fleet))
}


def server(llm: LlmSpec, pp: int) -> Server:
    gpu, tp = gpu_named(GPU), GPUS // pp
    room = kv_capacity_tokens(llm, tp, [StageMemory(llm.layers // pp, gpu.memory_gib)] * pp)
    return Server(pace(llm, gpu, tp, pp, nvlink=True), room)


def header() -> list[str]:
    return [
        "# The simulator: speed, memory, growth",
        "",
        f"Made by `.venv/bin/python -m benchmarks.simulator` (seed {SEED}) on one core of {Machine.here().cpu}",
        f"({platform.machine()}), Python {platform.python_version()}, numpy {np.__version__}. Replicas are {MODEL} on",
        f"{GPUS} x {GPU}: `split` is {PREFILL} prefill and {DECODE} decode replicas with a route for every pair, each",
        f"on an instance of its own with 10 Gbit/s; `mixed` is {PREFILL + DECODE} that do both. Times are of the",
        "simulation alone, after one run to warm up; memory is the peak of its process, Python and numpy included.",
        f"The machine's load was {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before the first run.",
        "What it computes is tested in `tests/planner/simulation`: against a scheduler that steps through every pass",
        "and token, and against closed forms (M/D/1, processor sharing, Little's law).",
    ]


def hour_table(hour: dict[str, Timed]) -> list[str]:
    source = "the Azure trace at its own times" if TRACE.is_file() else "Poisson arrivals, the preset's lengths"
    lines = ["", f"## The conversation hour, {PREFILL + DECODE} replicas", ""]
    lines += [f"{hour[GROWING].requests:,} requests: {source}. {REPEATS} runs; CPU time is their mean.", ""]
    lines += row("fleet", "events", "wall s, fastest", "median", "slowest", "CPU s", "peak MB", "mean busy", "lost")
    lines += row("---", *["--:"] * 8)
    for name, found in hour.items():
        times = (found.best_s, found.median_s, found.worst_s, found.cpu_s)
        shown = (f"{seconds:.2f}" for seconds in times)
        lines += row(name, f"{found.events:,}", *shown, f"{found.peak_mb:.0f}", f"{found.busy:.0%}", str(found.lost))
    wall, memory = max(found.median_s for found in hour.values()), max(found.peak_mb for found in hour.values())
    lines += ["", f"- Slower fleet, median: **{wall:.2f} s** wall (target {WALL_TARGET_S:.1f} s)."]
    return [*lines, f"- Peak: **{memory:.0f} MB** (target {RSS_TARGET_MB} MB)."]


def growth_table(found: list[Timed]) -> list[str]:
    lines = ["", "## Growth", "", f"`{GROWING}`, Poisson arrivals at {HOUR_RPS} requests/s, one run each.", ""]
    lines += row("requests", "wall s", "CPU s", "CPU us a request", "events a request", "peak MB")
    lines += row(*["--:"] * 6)
    for one in found:
        each = f"{one.cpu_s / one.requests * 1e6:.1f}"
        events = f"{one.events / one.requests:.2f}"
        lines += row(f"{one.requests:,}", f"{one.median_s:.2f}", f"{one.cpu_s:.2f}", each, events, f"{one.peak_mb:.0f}")
    ratio = (found[-1].cpu_s / found[-1].requests) / (found[0].cpu_s / found[0].requests)
    return [*lines, "", f"- CPU time a request at {SIZES[-1]:,} ÷ at {SIZES[0]:,}: **{ratio:.2f}**."]


def row(*cells: str) -> list[str]:
    return [f"| {' | '.join(cells)} |"]


if __name__ == "__main__":
    if len(sys.argv) == 5:
        fleet, size, repeats, trace = sys.argv[1:]
        print(json.dumps(asdict(measure(fleet, int(size), int(repeats), trace=trace == "1"))))
    else:
        takes_none(__doc__)
        main()
