"""Which limit binds: what more of each would add to the analytic score, found by asking for the answer again.

Budget, copies on offer and the price of moving KV are asked of procurement, on the whole market. Latency targets, KV
memory and wires are asked of the plan's own replicas, rated and paired anew with a tenth more of each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from planner.catalog import Link, Offer
from planner.deployment import Instance, Plan
from planner.links import Links
from planner.members import Member, members_of
from planner.orchestration.pairing import pair
from planner.parallel.layouts import Capacities
from planner.procurement.procure import procure
from planner.procurement.shop import choice_of

MORE = 1.1
"""A tenth more."""
WORTH = 0.005
"""A relative gain below this is none."""


@dataclass(frozen=True, slots=True)
class Lever:
    """A limit, how it was relaxed, and the analytic requests/s before and after."""

    limit: str
    change: str
    before_rps: float
    after_rps: float

    @property
    def gain_rps(self) -> float:
        return self.after_rps - self.before_rps

    @property
    def gain(self) -> float:
        """Relative; 0 where nothing was served before."""
        return self.gain_rps / self.before_rps if self.before_rps else 0.0

    @property
    def binds(self) -> bool:
        return self.gain > WORTH


def replica_levers(plan: Plan, capacities: Capacities, *, links: Links) -> tuple[Lever, ...]:
    """A tenth more time to the first token, time per token, KV memory, and bandwidth between instances."""
    task, members = capacities.task, members_of(plan, links)
    before = _paired_rps(plan, capacities, members, links)

    def with_slo(**targets: float) -> float:
        relaxed = replace(task, slo=replace(task.slo, **targets))
        return _paired_rps(plan, Capacities(relaxed, capacities.codec), members, links)

    roomier = [replace(m, layout=replace(m.layout, kv_tokens=int(m.layout.kv_tokens * MORE))) for m in members]
    wide_links = {ends: _wider(link) for ends, link in links.items()}
    wider = members_of(replace(plan, instances=tuple(map(_wider_instance, plan.instances))), wide_links)
    return (
        Lever("TTFT", "+10 % TTFT", before, with_slo(ttft_s=task.slo.ttft_s * MORE)),
        Lever("TPOT", "+10 % TPOT", before, with_slo(tpot_s=task.slo.tpot_s * MORE)),
        Lever("KV memory", "+10 % KV memory", before, _paired_rps(plan, capacities, roomier, links)),
        Lever("wires", "+10 % bandwidth", before, _paired_rps(plan, capacities, wider, wide_links)),
    )


def levers_left_out(plan: Plan) -> str:
    """Why the market's levers are not known, in a sentence; empty where they are: procurement asks about groups of one
    instance each, so of plans that span several it would answer for other fleets."""
    if not plan.spans:
        return ""
    return (
        "Replicas span instances: what more budget, more copies or free transfers would add is not known without "
        "planning again."
    )


def market_levers(
    capacities: Capacities, offers: Sequence[Offer], budget_usd_per_hour: float, *, links: Links
) -> tuple[Lever, ...]:
    """A dollar more, a tenth more budget, one more copy of every offer, and KV that moves for nothing."""

    def bought_rps(offers: Iterable[Offer], budget: float) -> float:
        return promised_rps(capacities, tuple(offers), budget, links=links)

    budget = budget_usd_per_hour
    before = bought_rps(offers, budget)
    more = (replace(offer, available=offer.available + 1) for offer in offers)
    free = (replace(offer, egress_usd_per_gb=0.0, ingress_usd_per_gb=0.0) for offer in offers)
    return (
        Lever("budget", "+1 $/h", before, bought_rps(offers, budget + 1.0)),
        Lever("budget", "+10 % budget", before, bought_rps(offers, budget * MORE)),
        Lever("availability", "one more copy of each", before, bought_rps(more, budget)),
        Lever("transfer price", "free transfers", before, bought_rps(free, budget)),
    )


def promised_rps(capacities: Capacities, offers: Sequence[Offer], budget_usd_per_hour: float, *, links: Links) -> float:
    """Analytic requests/s of the best purchase within a budget; 0 where it buys nothing that serves."""
    choice = choice_of(capacities, offers, links=links)
    bought = procure(choice.shop, choice.prefill, choice.decode, choice.mixed, budget_usd_per_hour=budget_usd_per_hour)
    return bought.served_rps if bought else 0.0


def _paired_rps(plan: Plan, capacities: Capacities, members: Sequence[Member], links: Links) -> float:
    """What the plan's replicas serve in their phases, paired anew within what the budget leaves for transfers."""
    spare = plan.budget_usd_per_hour - sum(instance.usd_per_hour for instance in plan.instances)
    found = pair(capacities, members, transfer_usd_per_hour=spare, links=links)
    return found.served_rps if found else 0.0


def _wider(link: Link) -> Link:
    return replace(link, bandwidth_gbit_per_s=link.bandwidth_gbit_per_s * MORE)


def _wider_instance(instance: Instance) -> Instance:
    return replace(
        instance,
        inet_up_gbit_per_s=instance.inet_up_gbit_per_s * MORE,
        inet_down_gbit_per_s=instance.inet_down_gbit_per_s * MORE,
    )
