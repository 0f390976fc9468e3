"""Layouts over instances of one private network, for when no plan is found: do the weights fit anywhere, and how quick?

A glance rather than a search: the roomiest instances first, as few of them as hold the model, for each number of GPUs.
"""

from collections.abc import Iterator, Sequence

from planner.catalog import Offer
from planner.links import Links, private_network
from planner.memory import GIB, UTILISATION
from planner.parallel.degrees import MOST_STAGES
from planner.parallel.layouts import Capacities, Layout, Share
from planner.procurement.groups import SIZES
from planner.search.supply import Supply


def joined_layouts(capacities: Capacities, offers: Sequence[Offer], links: Links) -> list[Layout]:
    """Of groups over two instances or more, those that hold the weights and the longest request."""
    supply = Supply(offers, capacities.task.llm, links=links)
    return [
        layout
        for pool in pools(supply)
        for size in SIZES
        for layout in _fewest(capacities, supply, [i for i in pool if supply.gpus[i] >= size], size)
    ]


def most_gib(supply: Supply) -> float:
    """What an engine may use of the roomiest instances of one network together, of as many as a replica may span."""
    return max((sum(_usable_gib(supply, i) for i in pool[:MOST_STAGES]) for pool in pools(supply)), default=0.0)


def pools(supply: Supply) -> Iterator[list[int]]:
    """The offers of each network that a replica may span, once for every copy, the roomiest first.

    A machine that is sold as several offers is there once, as the roomiest of them.
    """
    machines: dict[tuple[str, str], int] = {}
    for i in sorted(range(len(supply.offers)), key=lambda i: -_usable_gib(supply, i)):
        offer = supply.offers[i]
        machines.setdefault((offer.provider, offer.machine or f"offer {offer.offer_id}"), i)
    networks: dict[str, list[int]] = {}
    for i in machines.values():
        offer = supply.offers[i]
        networks.setdefault(private_network(offer), []).extend([i] * min(offer.available, MOST_STAGES))
    return (pool for pool in networks.values() if len(pool) > 1 and supply.joined(pool))


def _fewest(capacities: Capacities, supply: Supply, pool: Sequence[int], size: int) -> tuple[Layout, ...]:
    """Over as few instances of the pool as hold it, `size` GPUs of each."""
    task = capacities.task
    for count in range(2, min(len(pool), MOST_STAGES) + 1):
        taken = pool[:count]
        if sum(supply.kinds[i].memory_gib * size for i in taken) * UTILISATION * GIB > task.llm.weight_bytes:
            shape = tuple(Share(supply.kinds[i], size) for i in taken)
            between = tuple(tuple(supply.link(a, b) for b in taken) for a in taken)
            if found := capacities.layouts(shape, between):
                return found
    return ()


def _usable_gib(supply: Supply, i: int) -> float:
    return supply.gpus[i] * supply.kinds[i].memory_gib * UTILISATION
