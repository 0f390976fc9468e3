"""Write `benchmarks/results/rebalance.md`: how long a rebalance takes to decide, and what it gives away to a new plan.

Run by `.venv/bin/python -m benchmarks.rebalance`; it needs nothing but the project. Decisions are timed from the
workload to phases and routes, capacities included, each with nothing known before. Goodput is simulated.
"""

import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import highspy
import numpy as np

from benchmarks.arguments import takes_none
from planner.catalog import Link, Offer
from planner.choosing.search import Search
from planner.deployment import Instance, Plan
from planner.gpus import gpu_named
from planner.links import Links
from planner.market import Market
from planner.members import members_of
from planner.parallel.layouts import Capacities
from planner.plan import plan, task_of
from planner.rebalance import rebalance
from planner.rebalancing.alike import Designations, designations_of
from planner.rebalancing.flips import served, turned
from planner.traces import workload_named
from planner.workload import Slo, Workload
from tests.planner.search.fleets import LAN_GBIT_PER_S, paper_coding_plan, plan_of
from thunderctl.calibration.record import Machine

TARGET = Path(__file__).parent / "results" / "rebalance.md"
ROOT = Path(__file__).parents[1]
REPEATS, SAMPLE, SEED = 9, 400, 20260801
PAPER, UNLIKE, UNLIKE_LINKS = "the paper's coding plan", "12 all unlike", "12 all unlike, and every link"
DRIFTS = (1.0, 0.5, 0.25, 0.1)
SLO = Slo(ttft_s=10.0, tpot_s=0.2)
Place = TypeVar("Place", Instance, Offer)
UNLIKE_GPUS = ("A40", "A6000", "A100-SXM4-40GB", "L4", "L40S", "H100-SXM5-80GB")
ALL = 40_000
"""Up to so many designations the reference solves every one; of more, a sample, from which it is estimated."""
TARGETS_MS = {PAPER: 50, UNLIKE: 500, UNLIKE_LINKS: 500}


@dataclass(frozen=True, slots=True)
class Timed:
    """One decision: median and slowest, what it solved, and the reference that solves every designation."""

    fleet: str
    workload: str
    listed: int
    solved: int
    median_ms: float
    slowest_ms: float
    served_rps: float
    reference_ms: float
    reference_rps: float | None


@dataclass(frozen=True, slots=True)
class Drifted:
    """Simulated requests/s on links that have a part of their bandwidth left."""

    workload: str
    running: str
    part: float
    kept_rps: float
    rebalanced_rps: float
    anew_rps: float
    flips: int


def main() -> None:
    unlike = unlike_plan()
    fleets = {PAPER: (paper_coding_plan(), {}), UNLIKE: (unlike, {}), UNLIKE_LINKS: (unlike, unlike_links(unlike))}
    workloads = [workload_named(name) for name in ("coding", "conversation")]
    timings = [timed(name, *given, workload) for name, given in fleets.items() for workload in workloads]
    lines = [*header(), *timing_table(timings)]
    lines += drift_table([one for workload in workloads for one in drifted(workload)])
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"Wrote {TARGET.relative_to(ROOT)}", file=sys.stderr)


def timed(name: str, fleet: Plan, links: Links, workload: Workload) -> Timed:
    decide(fleet, links, workload)
    walls_ms, solved, served_rps = [], 0, 0.0
    for _ in range(REPEATS):
        started = time.perf_counter()
        solved, served_rps = decide(fleet, links, workload)
        walls_ms.append((time.perf_counter() - started) * 1e3)
    search = searching(fleet, links, workload)
    members = members_of(fleet, links)
    every = designations_of(members, links, np.zeros(len(members)))
    reference_ms, reference_rps = reference(search, fleet, every)
    wall = statistics.median(walls_ms), max(walls_ms)
    return Timed(name, workload.name, every.count, solved, *wall, served_rps, reference_ms, reference_rps)


def decide(fleet: Plan, links: Links, workload: Workload) -> tuple[int, float]:
    """(designations solved, requests/s of the one chosen), from scratch."""
    found = turned(searching(fleet, links, workload), fleet)
    assert found is not None
    return found.decision.solved, found.decision.served_rps


def unlike_plan() -> Plan:
    """Six types of GPU, of each one and two as a replica of qwen3-8b, each on an instance of its own."""
    return plan_of([(gpu, (tp,)) for gpu in UNLIKE_GPUS for tp in (1, 2)])


def paper_market() -> Market:
    """The machines of the paper's coding plan as offers: its 32 GPUs, eight of a type on an instance."""
    offers = [
        Offer(
            offer_id=one.offer_id,
            provider=one.provider,
            region=one.region,
            gpu=gpu_named(one.gpu),
            gpu_count=one.gpu_count,
            usd_per_hour=one.usd_per_hour,
            network=one.network,
        )
        for one in paper_coding_plan().instances
    ]
    return Market(tuple(offers), "2026-09-01T00:00:00Z", "file")


def unlike_links(fleet: Plan) -> Links:
    """Every link stated, of 1 to 20 Gbit/s, drawn at random."""
    draw = np.random.default_rng(SEED)
    names = [instance.id for instance in fleet.instances]
    return {(a, b): Link(float(draw.uniform(1.0, 20.0)), 0.5) for a in names for b in names if a != b}


def searching(fleet: Plan, links: Links, workload: Workload) -> Search:
    task = task_of(fleet.llm, workload, fleet.slo, fleet.max_model_len)
    return Search(Capacities(task), fleet.budget_usd_per_hour, links, rent_all=True, seed=SEED)


def reference(search: Search, fleet: Plan, every: Designations) -> tuple[float, float | None]:
    """Milliseconds to solve every designation up to symmetry, without bounds, and the best; None where estimated."""
    solver = served(search, fleet, members_of(fleet, search.links))
    whole = every.count <= ALL
    numbers = np.arange(every.count) if whole else np.random.default_rng(SEED).choice(every.count, SAMPLE)
    started = time.perf_counter()
    best = max(solver.at(every.phases(int(number)))[0] for number in numbers)
    took_ms = (time.perf_counter() - started) * 1e3
    return took_ms * every.count / len(numbers), best if whole else None


def drifted(workload: Workload) -> list[Drifted]:
    """Two plans on links that drift, as they are and rebalanced, and a new plan of the same machines each time."""
    market = paper_market()
    anew = [planned(replace(market, offers=tuple(slowed(market.offers, part))), workload) for part in DRIFTS]
    found = []
    for name, made in (("the paper's, for coding", paper_coding_plan()), ("ours, for full links", anew[0])):
        for part, fresh in zip(DRIFTS, anew, strict=True):
            running = replace(made, instances=tuple(slowed(made.instances, part)))
            rebalanced = rebalance(running, workload, seed=SEED)
            kept = rebalanced.before.predicted.goodput_rps if rebalanced.before else 0.0
            flips = sum(a.phase is not b.phase for a, b in zip(made.replicas, rebalanced.plan.replicas, strict=True))
            rates = kept, rebalanced.plan.predicted.goodput_rps, fresh.predicted.goodput_rps
            found.append(Drifted(workload.name, name, part, *rates, flips))
            print(found[-1], *rebalanced.why, sep="\n  ", file=sys.stderr)
    return found


def planned(market: Market, workload: Workload) -> Plan:
    budget = sum(offer.usd_per_hour for offer in market.offers)
    return plan(market, paper_coding_plan().llm, workload, SLO, budget_usd_per_hour=budget, fixed=True, seed=SEED)


def slowed(places: Sequence[Place], part: float) -> list[Place]:
    """The same with a part of their bandwidth."""
    width = LAN_GBIT_PER_S * part
    return [replace(place, inet_up_gbit_per_s=width, inet_down_gbit_per_s=width) for place in places]


def header() -> list[str]:
    cpu = Machine.here().cpu
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, HiGHS {highspy.Highs().version()}"
    return [
        "# Rebalance: time to decide, and regret",
        "",
        f"Made by `.venv/bin/python -m benchmarks.rebalance` (seed {SEED}) on one core of {cpu}, {versions}.",
        "",
    ]


def timing_table(timings: Sequence[Timed]) -> list[str]:
    lines = [
        "## Time to decide",
        "",
        f"From the workload to phases and routes, capacities included, {REPEATS} runs with nothing known before. The",
        "simulations that confirm a decision follow it and are not in these times. The reference solves every",
        "designation up to symmetry with the same program, without bounds; where no best is given, its time is",
        f"estimated from {SAMPLE} of them, drawn at random. Two phases only, the paper's plan has 540 designations.",
        "What is chosen may serve up to 0.1 % less than the best, where that flips fewer replicas.",
        "",
        "| replicas | workload | designations | solved | median ms | slowest | target | served, requests/s "
        "| reference ms | its best | ratio |",
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for one in timings:
        best = f"{one.reference_rps:.3f}" if one.reference_rps else "-"
        lines.append(
            f"| {one.fleet} | {one.workload} | {one.listed:,} | {one.solved} | {one.median_ms:.0f} | "
            f"{one.slowest_ms:.0f} | {TARGETS_MS[one.fleet]} | {one.served_rps:.3f} "
            f"| {one.reference_ms:,.0f} | {best} | {one.reference_ms / one.median_ms:,.0f} |"
        )
    return [*lines, ""]


def drift_table(found: Sequence[Drifted]) -> list[str]:
    lines = [
        "## Regret as links drift",
        "",
        "LLaMA-30B on 8 each of A40, A6000, A5000 and RTX 3090 Ti, eight of a type on an instance, all in one",
        f"network of {LAN_GBIT_PER_S:g} Gbit/s an instance. Two plans run: the one the paper publishes for coding, and",
        "ours for the workload at full links. On slower ones they are kept (routes anew), rebalanced, or planned anew",
        f"on the same machines with groups free. TTFT {SLO.ttft_s:g} s, TPOT {SLO.tpot_s:g} s at 90 %. Goodput is",
        "simulated, requests/s. Regret is what a rebalance gives away to the new plan; below 0 it serves more.",
        "",
        "| workload | running plan | links | kept | rebalanced | flips | planned anew | regret |",
        "| --- | --- | --: | --: | --: | --: | --: | --: |",
    ]
    lines += [
        f"| {one.workload} | {one.running} | {one.part:g} | {one.kept_rps:.2f} | {one.rebalanced_rps:.2f} "
        f"| {one.flips} | {one.anew_rps:.2f} | {1 - one.rebalanced_rps / one.anew_rps:.1%} |"
        for one in found
    ]
    return lines


if __name__ == "__main__":
    takes_none(__doc__)
    main()
