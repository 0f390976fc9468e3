"""The plans that the paper publishes for LLaMA-30B on its 32 GPUs, as replicas on the machines of `paper_fleet.py`.

Published are the GPUs of each replica, its TP and PP, and its phase. How layers are split, in which order stages stand
and which pairs exchange requests is not: each replica gets the split that serves the most in its phase, and the pairs
and their shares are our orchestration's. This can only flatter the published plans.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from benchmarks.paper_fleet import AS_OF, usd_per_hour
from planner.choosing.candidate import Candidate, candidate, simulated_goodput
from planner.choosing.contest import Finding
from planner.choosing.drafting import Occasion, drafted
from planner.deployment import Instance, Phase, Plan
from planner.errors import Infeasible
from planner.links import Links
from planner.market import Market
from planner.members import Member, between_instances
from planner.parallel.layouts import Capacities, Layout, Share, Task
from planner.plan import Goal
from planner.procurement.groups import kind_of
from planner.procurement.placing import instance_of, replica_of
from planner.workload import Workload

PREFILL, DECODE = Phase.PREFILL, Phase.DECODE
LINKS: Links = {}


@dataclass(frozen=True, slots=True)
class Row:
    """Replicas alike: how many, and each one's machines (numbers in `UNLIKE`), GPUs on each of them, TP and PP."""

    replicas: int
    phase: Phase
    machines: tuple[int, ...]
    gpus_each: int
    tp: int
    pp: int


CODING = (
    Row(4, PREFILL, (0,), 2, 2, 1),
    Row(1, PREFILL, (3,), 4, 4, 1),
    Row(2, PREFILL, (1,), 2, 2, 1),
    Row(1, PREFILL, (4, 6), 2, 2, 2),
    Row(1, DECODE, (5,), 4, 2, 2),
    Row(2, DECODE, (2,), 2, 1, 2),
    Row(1, DECODE, (4, 6), 2, 2, 2),
)
CONVERSATION = (
    Row(3, PREFILL, (0,), 2, 2, 1),
    Row(1, PREFILL, (4, 6), 2, 2, 2),
    Row(1, DECODE, (5,), 4, 2, 2),
    Row(1, DECODE, (0,), 2, 1, 2),
    Row(1, DECODE, (3,), 4, 2, 2),
    Row(2, DECODE, (1,), 2, 1, 2),
    Row(2, DECODE, (2,), 2, 1, 2),
    Row(1, DECODE, (4, 6), 2, 2, 2),
)
PUBLISHED: Mapping[str, Sequence[Row]] = {"coding": CODING, "conversation": CONVERSATION}


def published(workload: str, capacities: Capacities, market: Market) -> Candidate | None:
    """The plan published for a workload, paired by our orchestration; None where a replica cannot hold the model."""
    instances = [instance_of(offer, f"i{n}", capacities.task.llm) for n, offer in enumerate(market.offers)]
    members = _members(PUBLISHED[workload], capacities, market, instances)
    if members is None:
        return None
    budget = usd_per_hour(market)
    return candidate(capacities, instances, members, budget_usd_per_hour=budget, links=LINKS, keep_all=True)


def published_plan(workload: Workload, task: Task, market: Market) -> Plan:
    """The plan published for a workload as a document, at the goodput that simulation finds of it."""
    chosen = published(workload.name, Capacities(task), market)
    if chosen is None:
        raise Infeasible(f"No layout of {task.llm.name} fits a published group; expected room for its longest request.")
    budget = usd_per_hour(market)
    found = Finding(chosen, simulated_goodput(task, chosen, budget, seed=0), chosen.pairing.served_rps)
    occasion = Occasion(
        created_at=datetime.fromisoformat(AS_OF),
        market_as_of=AS_OF,
        market_source=market.source,
        goal=Goal.GOODPUT,
        budget_usd_per_hour=budget,
        seconds=0.0,
        evaluations=1,
        seed=0,
        remarks=("Published in arXiv 2502.09334; the split of layers, the order of stages and the routes are ours.",),
    )
    return drafted(task, workload, found, occasion)


def _members(
    rows: Sequence[Row], capacities: Capacities, market: Market, instances: Sequence[Instance]
) -> list[Member] | None:
    taken = [0] * len(instances)
    members: list[Member] = []
    for row in rows:
        own = [instances[machine] for machine in row.machines]
        layout = _layout(row, capacities, market, own)
        if layout is None:
            return None
        for _ in range(row.replicas):
            first = [taken[machine] for machine in row.machines]
            replica = replica_of(f"r{len(members)}", row.phase, [instance.id for instance in own], first, layout)
            door, *others = (next(one for one in own if one.id == name) for name in replica.instances)
            members.append(Member(replica, door, layout, tuple(others)))
            for machine in row.machines:
                taken[machine] += row.gpus_each
    return members


def _layout(row: Row, capacities: Capacities, market: Market, own: Sequence[Instance]) -> Layout | None:
    """The best split of the layers at the published TP x PP."""
    shape = tuple(Share(kind_of(market.offers[machine]), row.gpus_each) for machine in row.machines)
    every = capacities.layouts(shape, between_instances(tuple(own), LINKS))
    fitting = [one for one in every if (one.tp, one.pp) == (row.tp, row.pp)]
    return max(fitting, key=lambda one: capacities.rps(one, row.phase), default=None)
