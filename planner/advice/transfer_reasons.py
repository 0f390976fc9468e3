"""Did the price or the width of the links between instances shape a plan? Asked of procurement, and said in a sentence.

The question is what could be bought if moving KV were free, or links wide. A few offers answer it: those of the plan,
and the cheapest per request of each phase.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from planner.advice.levers import promised_rps
from planner.advice.token_cost import TokenCost, ranked, token_costs
from planner.catalog import Offer
from planner.choosing.candidate import Candidate
from planner.costmodel.transfer import kv_wire_bytes
from planner.deployment import Codec, Phase
from planner.links import INSIDE, Links
from planner.orchestration.strands import Hop
from planner.parallel.layouts import Capacities

CHEAPEST = 6
"""Offers of each phase that are asked about."""
WORTH_SAYING = 0.02
"""What is gained at least, relative to what is served, where a price or a link is the reason."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the offers that are asked about promise: as they are, with free transfers, and with wide links too."""

    offers: tuple[Offer, ...]
    billed_rps: float
    free_rps: float
    wide_rps: float


def transfer_reason(
    capacities: Capacities, offers: Sequence[Offer], chosen: Candidate, budget_usd_per_hour: float, *, links: Links
) -> str:
    """Why KV does not leave an instance or private network, if a price or slow links are why; empty otherwise."""
    if not capacities.task.llm.kv_movable or any(hop.link.usd_per_gb for hop in _between_instances(chosen)):
        return ""
    asked = _asked(capacities, offers, chosen, budget_usd_per_hour, links)
    enough = max(chosen.pairing.served_rps, asked.billed_rps) * (1 + WORTH_SAYING)
    if asked.free_rps > enough:
        return (
            f"{_how_it_is(chosen)}: if moving it elsewhere were free, the budget would buy {asked.free_rps:.2f} "
            f"requests/s (analytic), but that is {_price(capacities, asked.offers, asked.free_rps)}."
        )
    if asked.wide_rps > enough:
        return (
            f"{_how_it_is(chosen)}: links between instances are too slow; over fast ones the budget would buy "
            f"{asked.wide_rps:.2f} requests/s (analytic)."
        )
    if _between_instances(chosen) and any(instance.egress_usd_per_gb for instance in chosen.instances):
        return f"{_how_it_is(chosen)}; elsewhere it is {_price(capacities, asked.offers, chosen.pairing.served_rps)}."
    return ""


def _between_instances(chosen: Candidate) -> list[Hop]:
    return [hop for hop in chosen.pairing.hops if hop and hop.crossing]


def _how_it_is(chosen: Candidate) -> str:
    if chosen.is_split:
        return "KV moves only where that is free, inside one instance or private network"
    return "Every replica both prefills and decodes, and no KV moves"


def _price(capacities: Capacities, offers: Sequence[Offer], rate_rps: float) -> str:
    """What moving all KV costs at a rate, at the cheapest egress price there is."""
    task = capacities.task
    usd_per_gb = min((one.egress_usd_per_gb for one in offers if one.egress_usd_per_gb), default=0.0)
    gb_per_hour = float(kv_wire_bytes(task.llm, task.demand.prompt_mean, Codec.INT4)) / 1e9 * rate_rps * 3600
    return f"{gb_per_hour:,.0f} GB an hour in int4, ${usd_per_gb * gb_per_hour:,.2f} at ${usd_per_gb:g} per GB"


def _asked(
    capacities: Capacities, offers: Sequence[Offer], chosen: Candidate, budget_usd_per_hour: float, links: Links
) -> _Asked:
    few = _few(capacities, offers, chosen)
    free = tuple(replace(one, egress_usd_per_gb=0.0, ingress_usd_per_gb=0.0) for one in few)
    width = INSIDE.bandwidth_gbit_per_s
    wide = tuple(replace(one, inet_up_gbit_per_s=width, inet_down_gbit_per_s=width) for one in free)
    billed_rps, free_rps, wide_rps = (
        promised_rps(capacities, one, budget_usd_per_hour, links=links) for one in (few, free, wide)
    )
    return _Asked(few, billed_rps, free_rps, wide_rps)


def _few(capacities: Capacities, offers: Sequence[Offer], chosen: Candidate) -> tuple[Offer, ...]:
    rented = {instance.offer_id for instance in chosen.instances}
    costs = token_costs(capacities, offers)
    wanted = rented | {one.offer.offer_id for phase in Phase for one in _cheapest(costs, phase)}
    return tuple(offer for offer in offers if offer.offer_id in wanted)


def _cheapest(costs: Sequence[TokenCost], phase: Phase) -> tuple[TokenCost, ...]:
    return ranked(costs, phase)[:CHEAPEST]
