"""Instances of a network whose GPUs are alike, and the shapes of groups that span several of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from planner.catalog import Link, Offer
from planner.links import Links
from planner.parallel.degrees import MOST_STAGES
from planner.parallel.shapes import GpuKind
from planner.procurement.groups import kind_of
from planner.procurement.purchase import Ints, Shop
from planner.procurement.shop import ways_out

Shape: TypeAlias = tuple[tuple[int, int], ...]
"""(pool, instances of it), each pool once."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Instances of one network whose GPUs are alike: the sizes on offer, with the copies of each.

    `ways_out` are the best links out of one of them.
    """

    network: int
    kind: GpuKind
    copies: tuple[tuple[int, int], ...]
    ways_out: tuple[Link, Link]

    @property
    def largest(self) -> int:
        """GPUs of its largest instance."""
        return max(size for size, _ in self.copies)

    def instances(self, gpus: int) -> int:
        """How many of them have so many GPUs."""
        return sum(copies for size, copies in self.copies if size >= gpus)


def pools_of(offers: Sequence[Offer], shop: Shop, links: Links) -> tuple[Ints, list[Pool]]:
    """The pool of each offer, -1 for none, and all pools."""
    of: dict[tuple[int, GpuKind], list[int]] = {}
    keys = [(int(network), kind_of(offer)) for offer, network in zip(offers, shop.network, strict=True)]
    for i, key in enumerate(keys):
        if key[0] >= 0:
            of.setdefault(key, []).append(i)
    pools = [_pool(*key, [offers[i] for i in own], links) for key, own in of.items()]
    places = {key: i for i, key in enumerate(of)}
    return np.array([places.get(key, -1) for key in keys], dtype=np.int64), pools


def _pool(network: int, kind: GpuKind, offers: Sequence[Offer], links: Links) -> Pool:
    best = best_ways([ways_out(offer, links) for offer in offers])
    copies = tuple((offer.gpu_count, offer.available) for offer in offers)
    return Pool(network, kind, copies, best)


def best_ways(ways: Sequence[tuple[Link, Link]]) -> tuple[Link, Link]:
    """A link no worse than any of these, into the network and into the world."""
    network, world = (
        Link(
            max(way[i].bandwidth_gbit_per_s for way in ways),
            min(way[i].latency_ms for way in ways),
            codec_gb_per_s=max(way[i].codec_gb_per_s for way in ways),
        )
        for i in (0, 1)
    )
    return network, world


def together(way: Link, instances: int) -> Link:
    """No worse than the ways of so many instances, each of which packs and sends its own layers."""
    return replace(
        way,
        bandwidth_gbit_per_s=instances * way.bandwidth_gbit_per_s,
        codec_gb_per_s=instances * way.codec_gb_per_s,
    )


def shapes_of(pools: Sequence[Pool], own: Sequence[int]) -> Iterator[tuple[Shape, int]]:
    """Every choice of two instances or more of a network, with as many GPUs of each."""
    for gpus in range(1, max(pools[i].largest for i in own) + 1):
        most = [(i, pools[i].instances(gpus)) for i in own if pools[i].instances(gpus)]
        yield from ((shape, gpus) for shape in _choices(most, MOST_STAGES) if sum(count for _, count in shape) > 1)


def _choices(most: Sequence[tuple[int, int]], left: int) -> Iterator[Shape]:
    """All ways to take at most `left` instances in all from pools that have so many."""
    if not most:
        yield ()
        return
    (pool, count), *others = most
    for taken in range(min(count, left) + 1):
        for rest in _choices(others, left - taken):
            yield (((pool, taken),) if taken else ()) + rest
