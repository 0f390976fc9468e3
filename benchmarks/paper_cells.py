"""One cell of the paper's table: a model, a workload, a basis, a link and an SLO; everybody who competes in it.

The SLO is not published. Ours is of the form that the paper's family uses: a scale times the unloaded latency of the
workload's mean request on two A100s with TP 2, the fewest that hold LLaMA-30B with room for KV; TTFT and TPOT have the
same scale. So a request has a scale of its own, the larger of what its two latencies are of the base, and attainment
over the SLO's scale is the distribution of that.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.paper_ablations import evenly_routed
from benchmarks.paper_fleet import A100S, CARDS, FEWER_A100S, UNLIKE, Basis, fleet, rated, usd_per_hour
from benchmarks.paper_plans import published
from planner.advice.robustness import as_candidate
from planner.baselines.compare import BASELINES, compared
from planner.baselines.setting import Setting
from planner.choosing.candidate import Candidate, parts, simulated_goodput
from planner.choosing.goodput import STEADY
from planner.costmodel.pace import pace
from planner.demand import Floats
from planner.deployment import Codec, Plan
from planner.errors import Infeasible
from planner.evaluate import outcomes, run_at
from planner.market import Market
from planner.models import llm_named
from planner.parallel.layouts import Capacities, Task
from planner.parallel.rules import OneType, Ruled
from planner.plan import plan, task_of
from planner.traces import workload_named
from planner.workload import Slo, Workload

SEED, MAX_MODEL_LEN, ATTAINMENT = 20260801, 8192, 0.9
BASE_GPU, BASE_TP = "A100-SXM4-80GB", 2
LOADED = 0.8
"""Part of the best baseline's goodput at which deadlines are compared: at least one baseline keeps up with it."""
RUN_S, FEWEST, MOST = 600.0, 1000, 6000
"""Length of the run that deadlines are read from, and its requests at least and at most."""
QUANTILES = np.linspace(0.0, 1.0, 201)
OURS, PUBLISHED, RAW, EVEN, ONE_TYPE = "ours", "published", "KV raw", "routes even", "groups of one type"
ON_A100S = ("vllm", "distserve")


@dataclass(frozen=True, slots=True)
class Cell:
    """What is asked, and whether the planner's parts are taken away one by one as well."""

    model: str
    workload: str
    basis: Basis
    gbit_per_s: float
    scale: float
    ablations: bool = False

    def __str__(self) -> str:
        return f"{self.model} {self.workload} {self.basis} basis {self.gbit_per_s:g} Gbit/s scale {self.scale:g}"


@dataclass(frozen=True, slots=True)
class Group:
    """A replica of a plan as tables show it: its phase, its GPUs by type, and TP, PP."""

    phase: str
    gpus: tuple[tuple[str, int], ...]
    tp: int
    pp: int

    def __str__(self) -> str:
        """`P 2 x A40 + 2 x A5000 (2, 2)`."""
        gpus = " + ".join(f"{count} x {gpu}" for gpu, count in self.gpus)
        return f"{self.phase[0].upper()} {gpus} ({self.tp}, {self.pp})"


@dataclass(frozen=True, slots=True)
class Result:
    """A competitor: what it costs, its simulated goodput at the SLO, its groups, and quantiles of its requests' scales
    at the cell's rate."""

    name: str
    usd_per_hour: float
    goodput_rps: float
    groups: tuple[Group, ...] = ()
    scales: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Solved:
    """A cell with all its results by name, the rate that deadlines are compared at, and its SLO."""

    cell: Cell
    slo: Slo
    rate_rps: float
    results: dict[str, Result]


@dataclass(frozen=True, slots=True)
class Entry:
    """A competitor before it is compared."""

    name: str
    usd_per_hour: float
    chosen: Candidate | None
    goodput_rps: float


def solved(cell: Cell) -> Solved:
    base, task = base_slo(cell), task_at(cell)
    entries = list(_entries(cell, task))
    others = [one.goodput_rps for one in entries if one.name in BASELINES]
    rate = LOADED * max(others)
    return Solved(cell, task.slo, rate, {one.name: _result(one, task, base, rate) for one in entries})


def base_slo(cell: Cell) -> Slo:
    """Unloaded latencies of the workload's mean request on the base replica, at the cell's basis."""
    llm = llm_named(cell.model)
    demand = task_of(llm, workload_of(cell.workload), Slo(), MAX_MODEL_LEN).demand
    alone = pace(llm, CARDS[BASE_GPU].rated(cell.basis), BASE_TP, 1, nvlink=True)
    return Slo(float(alone.prefill_s(demand.prompt_mean)), float(alone.decode_step_s(1.0, demand.context)), ATTAINMENT)


def workload_of(name: str) -> Workload:
    """A preset, or `512/64`: every request has so many prompt and output tokens."""
    if "/" not in name:
        return workload_named(name)
    prompt, output = map(int, name.split("/"))
    return Workload(name, ((prompt, output),))


def task_at(cell: Cell) -> Task:
    base = base_slo(cell)
    slo = Slo(base.ttft_s * cell.scale, base.tpot_s * cell.scale, ATTAINMENT)
    return task_of(llm_named(cell.model), workload_of(cell.workload), slo, MAX_MODEL_LEN)


def made(cell: Cell, market: Market, task: Task, codec: Codec | None = None, known: Capacities | None = None) -> Entry:
    """The planner's own plan of a given fleet; `known` may hold it to a rule."""
    workload, name = workload_of(cell.workload), OURS
    budget = usd_per_hour(market)
    try:
        found: Plan = plan(
            market,
            task.llm,
            workload,
            task.slo,
            budget_usd_per_hour=budget,
            max_model_len=MAX_MODEL_LEN,
            fixed=True,
            codec=codec,
            seed=SEED,
            known=known,
        )
    except Infeasible:
        return Entry(name, budget, None, 0.0)
    return Entry(name, budget, as_candidate(found, {}, rated(cell.basis)), found.predicted.goodput_rps)


def scored(name: str, chosen: Candidate | None, task: Task) -> Entry:
    """A candidate that somebody else made, by the same simulation."""
    if chosen is None:
        return Entry(name, 0.0, None, 0.0)
    goodput = simulated_goodput(task, chosen, chosen.usd_per_hour, seed=SEED)
    return Entry(name, chosen.usd_per_hour, chosen, goodput)


def _entries(cell: Cell, task: Task) -> Iterator[Entry]:
    market = fleet(UNLIKE, cell.basis, cell.gbit_per_s)
    capacities = Capacities(task)
    ours = made(cell, market, task, known=capacities)
    yield ours
    if cell.model == "llama-30b":
        yield scored(PUBLISHED, published(cell.workload, capacities, market), task)
    for found in compared(_setting(capacities, market)):
        yield Entry(found.name, usd_per_hour(market), found.chosen, found.goodput_rps)
    for number, machines in ((8, A100S), (6, FEWER_A100S)):
        rivals = {name: BASELINES[name] for name in ON_A100S}
        rented = fleet(machines, cell.basis, cell.gbit_per_s)
        for found in compared(_setting(Capacities(task), rented), rivals):
            yield Entry(f"{found.name} on {number} A100", usd_per_hour(rented), found.chosen, found.goodput_rps)
    if cell.ablations:
        yield replace(made(cell, market, task, codec=Codec.RAW), name=RAW)
        yield scored(EVEN, evenly_routed(ours.chosen, capacities) if ours.chosen else None, task)
        yield replace(made(cell, market, task, known=Ruled(capacities, OneType())), name=ONE_TYPE)


def _setting(capacities: Capacities, market: Market) -> Setting:
    return Setting(capacities, market.offers, usd_per_hour(market), fixed=True, seed=SEED)


def _result(one: Entry, task: Task, base: Slo, rate_rps: float) -> Result:
    if one.chosen is None or rate_rps <= 0:
        return Result(one.name, one.usd_per_hour, one.goodput_rps)
    scales = np.quantile(_scales(one.chosen, task, base, rate_rps), QUANTILES, method="inverted_cdf")
    return Result(one.name, one.usd_per_hour, one.goodput_rps, groups_of(one.chosen), tuple(scales.tolist()))


def _scales(chosen: Candidate, task: Task, base: Slo, rate_rps: float) -> Floats:
    """What each request needs the SLO's scale to be, at a rate, once the fleet is full."""
    seconds = float(np.clip(RUN_S, FEWEST / rate_rps, MOST / rate_rps))
    run = run_at(rate_rps, task.demand, parts(task, chosen), seconds, seed=SEED)
    needed = []
    for requests, timings, copies in run.played:
        found = outcomes(requests, timings, since_s=seconds * STEADY)
        needed += [np.maximum(found.ttft_s / base.ttft_s, found.tpot_s / base.tpot_s)] * copies
    return np.nan_to_num(np.concatenate(needed), nan=np.inf)


def groups_of(chosen: Candidate) -> tuple[Group, ...]:
    """Every replica, those that prefill first, the largest first."""
    order = {"prefill": 0, "decode": 1, "mixed": 2}
    names = {instance.id: instance.gpu for instance in chosen.instances}
    found = []
    for member in chosen.members:
        replica = member.replica
        gpus = Counter(names[stage.instance] for stage in replica.stages for _ in stage.gpus)
        found.append(Group(replica.phase.value, tuple(sorted(gpus.items())), replica.tp, replica.pp))
    return tuple(sorted(found, key=lambda group: (order[group.phase], -group.tp * group.pp, group.gpus)))


def total(groups: Sequence[Group], phase: str) -> tuple[int, Counter[str]]:
    """(replicas, GPUs by type) in a phase."""
    own = [group for group in groups if group.phase == phase]
    return len(own), sum((Counter(dict(group.gpus)) for group in own), Counter[str]())
