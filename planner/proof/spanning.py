"""Groups over several instances of a network, by kinds: all there are or, where too many, what one GPU adds at most.

Instances of a network whose GPUs are alike are one pool. A shape takes as many GPUs from each of several instances; of
each, every legal TP is rated with what no layout exceeds (`planner/parallel/relaxed.py`), so that a program which may
form these groups, even in parts, serves at least as much as any plan. Of what a program forms none of, the looser rate
will do: where there are many shapes, those of a network and phase are rated one by one once they are wanted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import numpy.typing as npt

from planner.catalog import Offer
from planner.deployment import Phase
from planner.links import Links
from planner.parallel.additive import most_per_gpu
from planner.parallel.relaxed import INTERPOLATED, Places, Relaxed
from planner.parallel.task import Task
from planner.procurement.purchase import Floats, Shop, Spans
from planner.proof.dominance import undominated
from planner.proof.pools import Pool, Shape, best_ways, pools_of, shapes_of, together

MOST_SHAPES = 400
"""Of a network, rated one by one: three seconds at most. Beyond it, what a GPU adds is a looser bound."""
TRACE = 1e-6
"""Of a group: less is none."""
PHASES = tuple(Phase)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of `Spans`: so many GPUs of each instance, and how many instances of each pool."""

    network: int
    shape: Shape
    each: int
    phase: Phase
    gpus: Floats
    rps: float
    held: Floats
    stays: Floats

    @property
    def worth(self) -> Floats:
        return np.array([self.rps, *self.held, *self.stays.ravel()])


class Spanning:
    """The groups that span instances of the offers: each shape where they are few, else what a GPU adds."""

    def __init__(self, task: Task, offers: Sequence[Offer], shop: Shop, links: Links, relaxed: Relaxed) -> None:
        self.task, self.relaxed = task, relaxed
        self.numbers, self.pools = pools_of(offers, shop, links)
        own: dict[int, list[int]] = {}
        for i, pool in enumerate(self.pools):
            own.setdefault(pool.network, []).append(i)
        self.spanned = {network: pools for network, pools in own.items() if next(shapes_of(self.pools, pools), None)}
        self.shapes = {
            network: shapes
            for network, pools in self.spanned.items()
            if len(shapes := list(islice(shapes_of(self.pools, pools), MOST_SHAPES + 1))) <= MOST_SHAPES
        }
        self.rows: dict[tuple[int, Phase], list[_Row]] = {}
        self._added: dict[Phase, dict[int, float]] = {}
        few = len(self.shapes) == len(self.spanned) and sum(map(len, self.shapes.values())) <= MOST_SHAPES
        self.wanted = {(n, phase) for n in self.spanned for phase in PHASES if few}
        self._rate((network, phase) for network in self.spanned for phase in PHASES)

    @cached_property
    def spans(self) -> Spans:
        rows, pools = self._listed, len(self.pools)
        return Spans(
            pool=self.numbers,
            network=np.array([row.network for row in rows], dtype=np.int64),
            phase=np.array([PHASES.index(row.phase) for row in rows], dtype=np.int64),
            gpus=np.array([row.gpus for row in rows]).reshape(len(rows), pools),
            rps=np.array([row.rps for row in rows], dtype=np.float64),
            held=np.array([row.held for row in rows]).reshape(len(rows), pools),
            stays=np.array([row.stays for row in rows]).reshape(len(rows), pools, 2),
            reach=self._reach,
            most_beside=self.task.llm.layers - 1.0,
        )

    @cached_property
    def _listed(self) -> list[_Row]:
        return [row for rows in self.rows.values() for row in rows]

    def group(self, row: int) -> tuple[Shape, int, Phase]:
        """Of a row of `spans`: how many instances of each pool, GPUs of each, and for what."""
        found = self._listed[row]
        return found.shape, found.each, found.phase

    def refined(self, formed: Floats) -> bool:
        """Rate the shapes of the networks and phases of which these rows are formed one by one, where they are few
        enough; false if none is left."""
        used = {(row.network, row.phase) for row, count in zip(self._listed, formed, strict=False) if count > TRACE}
        wanted = {(network, phase) for network, phase in used - self.wanted if network in self.shapes}
        self.wanted |= wanted
        self._rate(wanted)
        return bool(wanted)

    def _rate(self, wanted: Iterable[tuple[int, Phase]]) -> None:
        for network, phase in wanted:
            closely = (network, phase) in self.wanted
            shapes = self.shapes[network] if closely else [(((i, 1),), 1) for i in self.spanned[network]]
            rows = [self._row(shape, gpus, phase, closely=closely) for shape, gpus in shapes]
            kept = undominated(np.array([row.gpus for row in rows]), np.array([row.worth for row in rows]))
            self.rows[network, phase] = [row for row, keep in zip(rows, kept, strict=True) if keep]
        for known in ("spans", "_listed"):
            self.__dict__.pop(known, None)

    def _row(self, shape: Shape, gpus: int, phase: Phase, *, closely: bool) -> _Row:
        counts, held, stays = np.zeros(len(self.pools)), np.zeros(len(self.pools)), np.zeros((len(self.pools), 2))
        for pool, instances in shape:
            counts[pool] = gpus * instances
        rps = self._rps(shape, gpus, phase) if closely else gpus * sum(n * self._adds(pool, phase) for pool, n in shape)
        for pool, instances in shape if phase is not Phase.MIXED else ():
            held[pool] = min(counts[pool] * self._adds(pool, phase), rps)
            stays[pool] = self._stays(self.pools[pool], gpus, instances, phase, held[pool])
        return _Row(self.pools[shape[0][0]].network, shape, gpus, phase, counts, rps, held, stays)

    def _adds(self, pool: int, phase: Phase) -> float:
        """Requests/s that a GPU of a pool adds at most."""
        if phase not in self._added:
            own = [pool for pools in self.spanned.values() for pool in pools]
            kinds = list(dict.fromkeys(self.pools[pool].kind for pool in own))
            most = dict(zip(kinds, (most_per_gpu(self.task, kinds, phase) * INTERPOLATED).tolist(), strict=True))
            self._added[phase] = {pool: most[self.pools[pool].kind] for pool in own}
        return self._added[phase][pool]

    def _rps(self, shape: Shape, gpus: int, phase: Phase) -> float:
        network, _ = best_ways([self.pools[pool].ways_out for pool, _ in shape])
        return self.relaxed.best(self._places(shape), gpus, phase, network)

    def _stays(self, pool: Pool, gpus: int, instances: int, phase: Phase, held: float) -> tuple[float, float]:
        """KV that stays on its instances of a pool, by `SINGLE` and `JOINT`: what is done there besides, the GPUs that
        are left must do."""
        other = Phase.DECODE if phase is Phase.PREFILL else Phase.PREFILL
        beside = instances * self.relaxed.most(pool.kind, pool.largest - gpus, other)
        return min(held, beside), held * (pool.largest > gpus)

    @cached_property
    def _reach(self) -> npt.NDArray[np.bool_]:
        """Of each offer: can all KV of any group of its network leave by the network, and by the world?"""
        able = np.ones((len(self.pools) + 1, 2), dtype=np.bool_)
        for network, shapes in self.shapes.items():
            own = self.spanned[network]
            able[own] = [any(self._sends(*one, way) for one in shapes) for way in (0, 1)]
        return able[self.numbers]

    def _sends(self, shape: Shape, gpus: int, way: int) -> bool:
        ways = best_ways([self.pools[pool].ways_out for pool, _ in shape])
        at_once = together(ways[way], sum(instances for _, instances in shape))
        return self.relaxed.sent_rps(self._places(shape), gpus, at_once, ways[0]) > 0

    def _places(self, shape: Shape) -> Places:
        return tuple((self.pools[pool].kind, instances) for pool, instances in shape)
