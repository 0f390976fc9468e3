"""Fleets of any planner's, judged by our simulator: their replicas on the case's instance, paired by our orchestration.

Peers say neither how layers are split over pipelines nor which pairs exchange requests: both are ours, which can only
flatter them.
"""

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.peers.cases import USD_PER_HOUR, Case, Fleet, Group
from planner.choosing.candidate import Candidate, candidate, simulated_goodput
from planner.deployment import Instance
from planner.members import Member
from planner.parallel.layouts import Capacities, Layout, Share
from planner.procurement.groups import kind_of
from planner.procurement.placing import instance_of, replica_of

LOOSE = 4.0


def goodput_rps(case: Case, fleet: Fleet, capacities: Capacities, *, seed: int = 0) -> float:
    """Requests/s at the attainment target; 0 where a replica does not hold the model or nothing is in time."""
    (offer,) = case.market.offers
    instance = instance_of(offer, "i0", capacities.task.llm)
    layouts = [_layout(capacities, Share(kind_of(offer), one.tp * one.pp), one) for one in fleet]
    if None in layouts or sum(one.gpus for one in fleet) > offer.gpu_count:
        return 0.0
    members: list[Member] = []
    taken = 0
    for group, layout in zip(fleet, layouts, strict=True):
        for _ in range(group.replicas):
            assert layout is not None
            replica = replica_of(f"r{len(members)}", group.phase, ["i0"], [taken], layout)
            members.append(Member(replica, instance, layout))
            taken += group.tp * group.pp
    chosen = _paired(capacities, instance, members) or _paired(_loose(capacities), instance, members)
    return simulated_goodput(capacities.task, chosen, USD_PER_HOUR, seed=seed) if chosen else 0.0


def _paired(capacities: Capacities, instance: Instance, members: Sequence[Member]) -> Candidate | None:
    return candidate(capacities, [instance], members, budget_usd_per_hour=USD_PER_HOUR, links={}, keep_all=True)


def _loose(capacities: Capacities) -> Capacities:
    """For pairing alone: what our analytic rates take for too slow is simulated all the same, at the real targets."""
    task = capacities.task
    slo = replace(task.slo, ttft_s=LOOSE * task.slo.ttft_s, tpot_s=LOOSE * task.slo.tpot_s)
    return Capacities(replace(task, slo=slo))


def _layout(capacities: Capacities, share: Share, group: Group) -> Layout | None:
    """The split of the layers that serves the most at this TP x PP."""
    every = capacities.layouts((share,))
    fitting = [one for one in every if (one.tp, one.pp) == (group.tp, group.pp)]
    return max(fitting, key=lambda one: capacities.rps(one, group.phase), default=None)
