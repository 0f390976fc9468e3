"""Simulated requests per second of processor time: ours and vllm-sr-sim over the same requests and as many replicas.

They do not simulate the same: ours plays every pass of every engine (batches, chunks, KV, preemption), the other one
event for each request. Both run alone in their process, once to warm up and then as often as is said.
"""

import statistics
import time
from dataclasses import dataclass

from benchmarks.peers.asked import Peer
from benchmarks.simulator import GPU, GPUS, HOUR_REQUESTS, MODEL, SEED, first, mixed_fleet, played
from planner.simulation.run import simulate
from planner.simulation.scenario import Epoch, Requests

REPEATS, REPLICAS = 3, 12
THEIR_GPU = "A100-SXM4-80GB"
"""The other knows no A100 of 40 GB."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Medians of a run: processor and wall seconds."""

    name: str
    requests: int
    cpu_s: float
    wall_s: float

    @property
    def line(self) -> str:
        rates = f"{self.requests / self.cpu_s:,.0f} | {self.requests / self.wall_s:,.0f}"
        return f"| {self.name} | {self.requests:,} | {self.cpu_s:.2f} | {self.wall_s:.2f} | {rates} |"


HEAD = (
    "| simulator | requests | CPU s | wall s | requests per CPU s | requests per wall s |",
    "|---|--:|--:|--:|--:|--:|",
)


def speeds(requests: int = HOUR_REQUESTS, repeats: int = REPEATS) -> list[Speed]:
    what = first(played(HOUR_REQUESTS, trace=True), requests)
    return [ours(what, repeats), theirs(what, repeats)]


def ours(what: Requests, repeats: int) -> Speed:
    servers, lanes = mixed_fleet(1)
    runs = []
    for _ in range(repeats + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        simulate(what, servers, [Epoch(0.0, lanes)], seed=SEED)
        runs.append((time.process_time() - cpu, time.perf_counter() - wall))
    name = f"ours: {REPLICAS} mixed replicas of {MODEL} on {GPUS} x {GPU}"
    return _median(name, len(what.arrival_s), runs[1:])


def theirs(what: Requests, repeats: int) -> Speed:
    columns = (what.arrival_s.tolist(), what.prompt.astype(int).tolist(), what.output.astype(int).tolist())
    asked = {"model": MODEL, "gpu": THEIR_GPU, "tp": GPUS, "replicas": REPLICAS, "context": 2048}
    with Peer("sr_sim") as peer:
        answers = [peer.ask("simulate", requests=list(zip(*columns, strict=True)), **asked) for _ in range(repeats + 1)]
    if refused := answers[0].refused:
        raise RuntimeError(f"vllm-sr-sim simulated nothing: {refused}")
    name = f"vllm-sr-sim: {REPLICAS} instances of {MODEL} on {GPUS} x {THEIR_GPU}"
    return _median(name, int(answers[0].found["finished"]), [(one.cpu_s, one.wall_s) for one in answers[1:]])


def _median(name: str, requests: int, runs: list[tuple[float, float]]) -> Speed:
    cpu, wall = (statistics.median(column) for column in zip(*runs, strict=True))
    return Speed(name, requests, cpu, wall)
