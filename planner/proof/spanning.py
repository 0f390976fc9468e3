"""Groups over several instances of a network, by kinds: all there are or, where too many, what one GPU adds at most.

Instances of a network whose GPUs are alike are one pool. A shape takes as many GPUs from each of several instances; of
each, every legal TP is rated with what no layout exceeds (`planner/parallel/relaxed.py`), so that a program which may
form these groups, even in parts, serves at least as much as any plan.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import inf
from typing import TypeAlias

import numpy as np

from planner.catalog import Link, Offer
from planner.deployment import Phase
from planner.links import Links
from planner.parallel.additive import most_per_gpu
from planner.parallel.degrees import MOST_STAGES
from planner.parallel.relaxed import Relaxed
from planner.parallel.shapes import GpuKind
from planner.parallel.task import Task
from planner.procurement.groups import kind_of
from planner.procurement.program import DECODE, PREFILL
from planner.procurement.purchase import Floats, Ints, Shop, Spans
from planner.procurement.shop import ways_out

MOST_SHAPES = 400
"""Of a network, rated one by one: a second and a half at most. Beyond it, what a GPU adds is a looser bound."""


Shape: TypeAlias = tuple[tuple[int, int], ...]
"""(pool, instances of it), each pool once."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Instances of one network whose GPUs are alike: the sizes on offer, with the copies of each.

    `ways_out` are the best links out of one of them, `wire_rps` the most that one of them can send and receive.
    """

    network: int
    kind: GpuKind
    copies: tuple[tuple[int, int], ...]
    ways_out: tuple[Link, Link]
    wire_rps: tuple[float, float]

    @property
    def largest(self) -> int:
        """GPUs of its largest instance."""
        return max(size for size, _ in self.copies)

    def instances(self, gpus: int) -> int:
        """How many of them have so many GPUs."""
        return sum(copies for size, copies in self.copies if size >= gpus)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of `Spans`: so many GPUs of each instance, and how many instances of each pool."""

    network: int
    shape: Shape
    each: int
    gpus: Floats
    rps: Floats
    slower: tuple[float, float]
    wire_rps: tuple[float, float]
    stays: Floats


class Spanning:
    """The groups that span instances of the offers: each shape where they are few, else what a GPU adds."""

    def __init__(self, task: Task, offers: Sequence[Offer], shop: Shop, links: Links, relaxed: Relaxed) -> None:
        self.task, self.relaxed = task, relaxed
        self.numbers, self.pools = _pools(offers, shop, links)
        own: dict[int, list[int]] = {}
        for i, pool in enumerate(self.pools):
            own.setdefault(pool.network, []).append(i)
        spanned = {network: pools for network, pools in own.items() if next(_shapes(self.pools, pools), None)}
        self.shapes = {
            network: shapes
            for network, pools in spanned.items()
            if len(shapes := list(islice(_shapes(self.pools, pools), MOST_SHAPES + 1))) <= MOST_SHAPES
        }
        kinds = list(dict.fromkeys(self.pools[i].kind for pools in spanned.values() for i in pools))
        both = [most_per_gpu(task, kinds, phase) for phase in (Phase.PREFILL, Phase.DECODE)] if kinds else []
        self.most_per_gpu = dict(zip(kinds, zip(*both, strict=True), strict=True))
        self.rows: dict[int, list[_Row]] = {}
        if len(self.shapes) < len(spanned) or sum(map(len, self.shapes.values())) > MOST_SHAPES:
            self.rows = dict(zip(spanned, self._each_gpu(list(spanned.values())), strict=True))
        else:
            self.refined(spanned)

    @property
    def spans(self) -> Spans:
        rows, pools = [row for rows in self.rows.values() for row in rows], len(self.pools)
        return Spans(
            pool=self.numbers,
            network=np.array([row.network for row in rows], dtype=np.int64),
            gpus=np.array([row.gpus for row in rows]).reshape(len(rows), pools),
            rps=np.array([row.rps for row in rows]).reshape(len(rows), len(Phase)),
            slower=np.array([row.slower for row in rows]).reshape(len(rows), 2),
            wire_rps=np.array([row.wire_rps for row in rows]).reshape(len(rows), 2),
            stays=np.array([row.stays for row in rows]).reshape(len(rows), pools, 4),
            most_beside=self.task.llm.layers - 1.0,
        )

    def group(self, row: int) -> tuple[Shape, int]:
        """Of a row of `spans`: how many instances of each pool, and GPUs of each."""
        found = [one for rows in self.rows.values() for one in rows][row]
        return found.shape, found.each

    def refined(self, networks: Iterable[int]) -> bool:
        """Rate the shapes of these networks one by one, where they are few enough; false if none is left."""
        wanted = [network for network in networks if network in self.shapes]
        for network in wanted:
            rated = (self._rated(shape, gpus) for shape, gpus in self.shapes.pop(network))
            self.rows[network] = [row for row in rated if row]
        return bool(wanted)

    def _rated(self, shape: Shape, gpus: int) -> _Row | None:
        places = tuple((self.pools[pool].kind, instances) for pool, instances in shape)
        ways = best_ways([self.pools[pool].ways_out for pool, _ in shape])
        rps = self.relaxed.best(places, gpus, ways[0])
        at_once = [together(way, sum(instances for _, instances in shape)) for way in ways]
        sent = [self.relaxed.sent_rps(places, gpus, way, ways[0]) if rps[0] > 0 else 0.0 for way in at_once]
        network, world = (max(1.0, float(rps[0]) / each) if each > 0 else inf for each in sent)
        return self._row(shape, gpus, rps, (network, world)) if rps.any() else None

    def _each_gpu(self, networks: Sequence[Sequence[int]]) -> list[list[_Row]]:
        """What a GPU adds; it sends as if at no cost, and over its instance's wires for itself."""
        mixed = dict(zip(self.most_per_gpu, most_per_gpu(self.task, list(self.most_per_gpu), Phase.MIXED), strict=True))
        rps = {kind: np.array([*both, mixed[kind]]) for kind, both in self.most_per_gpu.items()}
        return [[self._row(((i, 1),), 1, rps[self.pools[i].kind], (1.0, 1.0)) for i in own] for own in networks]

    def _row(self, shape: Shape, gpus: int, rps: Floats, slower: tuple[float, float]) -> _Row:
        counts, stays = np.zeros(len(self.pools)), np.zeros((len(self.pools), 4))
        for pool, instances in shape:
            counts[pool] = gpus * instances
            stays[pool] = instances * self._stay(self.pools[pool], gpus)
        wires = np.sum([instances * np.array(self.pools[pool].wire_rps) for pool, instances in shape], axis=0)
        return _Row(self.pools[shape[0][0]].network, shape, gpus, counts, rps, slower, (wires[0], wires[1]), stays)

    def _stay(self, pool: Pool, gpus: int) -> Floats:
        """KV that stays on one instance of a pool, by `NEAR`, `LENT`, `JOINT_OUT` and `JOINT_INTO`.

        It is that of the layers which a group has there, and these limit it as `additive.py` says; what is prefilled or
        decoded there besides, the GPUs that are left must do.
        """
        prefill, decode = (gpus * self.most_per_gpu[pool.kind][phase] for phase in (PREFILL, DECODE))
        beside = self.relaxed.most(pool.kind, pool.largest - gpus)
        joint = pool.largest > gpus
        return np.array([min(prefill, beside[DECODE]), min(decode, beside[PREFILL]), prefill * joint, decode * joint])


def _pools(offers: Sequence[Offer], shop: Shop, links: Links) -> tuple[Ints, list[Pool]]:
    of: dict[tuple[int, GpuKind], list[int]] = {}
    keys = [(int(network), kind_of(offer)) for offer, network in zip(offers, shop.network, strict=True)]
    for i, key in enumerate(keys):
        if key[0] >= 0:
            of.setdefault(key, []).append(i)
    pools = [_pool(*key, [offers[i] for i in own], shop.wire_rps[own], links) for key, own in of.items()]
    places = {key: i for i, key in enumerate(of)}
    return np.array([places.get(key, -1) for key in keys], dtype=np.int64), pools


def _pool(network: int, kind: GpuKind, offers: Sequence[Offer], wire_rps: Floats, links: Links) -> Pool:
    best = best_ways([ways_out(offer, links) for offer in offers])
    copies = tuple((offer.gpu_count, offer.available) for offer in offers)
    most = wire_rps.max(axis=0)
    return Pool(network, kind, copies, best, (float(most[0]), float(most[1])))


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


def _shapes(pools: Sequence[Pool], own: Sequence[int]) -> Iterator[tuple[Shape, int]]:
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
