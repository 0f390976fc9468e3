"""About how much a fleet will serve, before any of it is searched: that makes arrivals at its replicas more even.

What each offer does for its price in its best groups, the best offers first until the budget is spent. With those rates
the fleet is sized again, as they depend on its size.
"""

from collections.abc import Sequence
from math import inf

import numpy as np

from planner.catalog import Offer
from planner.links import Links
from planner.members import Member
from planner.parallel.layouts import Capacities
from planner.procurement.purchase import Floats, Groups
from planner.procurement.shop import Choice, choice_of

ROUNDS = 3
"""Of sizing at most; most fleets take two."""


def sized(
    capacities: Capacities,
    offers: Sequence[Offer],
    links: Links,
    *,
    budget_usd_per_hour: float,
    rate_rps: float | None = None,
    keep_all: bool = False,
) -> tuple[Capacities, Choice]:
    """Capacities in the fleet that serves a rate or else is what the budget buys or all offers are; and what there is
    to choose from with them."""
    if rate_rps:
        own = capacities.in_fleet(rate_rps)
        return own, choice_of(own, offers, links=links, keep_all=keep_all)
    own = capacities.in_fleet(inf)
    for _ in range(ROUNDS):
        choice = choice_of(own, offers, links=links, keep_all=keep_all)
        before, own = own, capacities.in_fleet(_most_rps(choice, inf if keep_all else budget_usd_per_hour))
        if own is before:
            break
    else:
        choice = choice_of(own, offers, links=links, keep_all=keep_all)
    return own, choice


def running(capacities: Capacities, members: Sequence[Member]) -> Capacities:
    """Capacities in the fleet that these members are, whatever their phases."""
    even = capacities.in_fleet(inf)
    prefill = np.array([even.prefill_rps(member.layout) for member in members])
    decode = np.array([even.decode_rps(member.layout) for member in members])
    return capacities.in_fleet(float(_together(prefill, decode).sum()))


def _most_rps(choice: Choice, budget_usd_per_hour: float) -> float:
    """Requests/s of whole copies, those that serve the most for the money first."""
    shop = choice.shop
    prefill, decode, mixed = (_densest(choice, of) * shop.gpus for of in (choice.prefill, choice.decode, choice.mixed))
    each = np.maximum(mixed, _together(prefill, decode))
    order = np.argsort(-each / np.maximum(shop.usd_per_hour, 1e-9), kind="stable")
    left, served = budget_usd_per_hour, 0.0
    for i in order:
        usd = float(shop.usd_per_hour[i])
        copies = float(min(shop.available[i], np.floor(left / usd) if usd > 0 else inf))
        left, served = left - copies * usd, served + copies * float(each[i])
    return served


def _densest(choice: Choice, groups: Groups) -> Floats:
    """The most requests/s for a GPU in groups for one phase, by offer; 0 where there are none."""
    found = np.zeros(len(choice.offers))
    np.maximum.at(found, groups.offer, groups.rps / groups.gpus)
    return found


def _together(prefill: Floats, decode: Floats) -> Floats:
    """What GPUs serve that may be divided between the phases at will."""
    both = prefill + decode
    return np.asarray(np.where(both > 0, prefill * decode / np.where(both > 0, both, 1.0), 0.0))
