"""An upper bound on the score of every legal plan: procurement's program over all groups there are, each overrated.

What a plan can be that procurement never buys: groups of any size, with any layers in any stage, spanning instances of
a network in any mix of kinds. Each is in this program, or GPUs that add at least as much, with rates that no layout
exceeds and links no worse than the best. So its optimum, and HiGHS's bound on that, is above every plan's score; why
each of its inequalities holds for every plan is told in `docs/decisions/0005-the-bound-counts-kv-where-layers-are.md`.
Shapes are rated one by one as far as parts of groups are formed of them; then the program is solved for whole ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.catalog import Link, Offer
from planner.deployment import Codec, Phase
from planner.links import Links
from planner.parallel.relaxed import Relaxed
from planner.parallel.shapes import GpuKind
from planner.parallel.task import Task
from planner.procurement.groups import kind_of
from planner.procurement.procure import most_rps
from planner.procurement.purchase import Formation, Groups
from planner.procurement.shop import shop_of, ways_out
from planner.proof.beginning import begun
from planner.proof.spanning import Spanning
from planner.search.state import State

GAP, MOST_S = 0.01, 1.5
"""How near HiGHS comes to its own bound, and how long it may take: the bound holds all the same."""


@dataclass(frozen=True, slots=True)
class Bounded:
    """Requests/s that no plan exceeds, and a state that does nearly as much if rates are what they seem."""

    rps: float
    begun: State | None


def bounded(
    task: Task,
    codec: Codec | None,
    offers: Sequence[Offer],
    links: Links,
    budget_usd_per_hour: float,
    *,
    rent_all: bool = False,
) -> Bounded:
    """What no legal plan of these offers exceeds within the budget, and a state that may come near it."""
    relaxed = Relaxed(task, codec)
    prefill, decode, mixed = (_groups(relaxed, offers, phase) for phase in Phase)
    shop = shop_of(
        task,
        codec,
        offers,
        links,
        holds_both=[_holds_both(prefill, decode, i, offer) for i, offer in enumerate(offers)],
        slower=[_slower(relaxed, offer, *ways_out(offer, links)) for offer in offers],
    )
    spanning = Spanning(task, offers, shop, links, relaxed)

    def most(*, whole: bool) -> tuple[float, Formation | None]:
        return most_rps(
            shop,
            prefill,
            decode,
            mixed,
            spanning.spans,
            budget_usd_per_hour=budget_usd_per_hour,
            rent_all=rent_all,
            whole=whole,
            gap=GAP,
            seconds=MOST_S,
        )

    in_parts, parts = most(whole=False)
    while parts and spanning.refined(parts.spanning):
        in_parts, parts = most(whole=False)
    bound, found = most(whole=True)
    return Bounded(min(bound, in_parts), begun(found, offers, (prefill, decode, mixed), spanning) if found else None)


def _groups(relaxed: Relaxed, offers: Sequence[Offer], phase: Phase) -> Groups:
    """Of every size, but those that several of one smaller kind do as well."""
    rows: list[tuple[int, int, float]] = []
    for i, offer in enumerate(offers):
        kept: list[tuple[int, float]] = []
        for gpus in range(1, offer.gpu_count + 1):
            rps = relaxed.best(((kind_of(offer), 1),), gpus, phase)
            if rps > max((gpus // size * each for size, each in kept), default=0.0):
                kept.append((gpus, rps))
        rows += [(i, gpus, rps) for gpus, rps in kept]
    table = np.array(rows).reshape(-1, 3)
    return Groups(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2])


def _holds_both(prefill: Groups, decode: Groups, index: int, offer: Offer) -> bool:
    least = (groups.gpus[groups.offer == index].min(initial=offer.gpu_count) for groups in (prefill, decode))
    return bool(sum(least) <= offer.gpu_count)


def _slower(relaxed: Relaxed, offer: Offer, network: Link, world: Link) -> tuple[float, float]:
    """How much any prefill group of the offer loses, at least, when its KV leaves over the network or the world.

    Of a size, let B be the most served inside and S the most sent, in the same layout or another. A layout that serves
    b inside and s outside takes in / b + out / s of its time for both, which is at least (in + out B / S) / B.
    """
    kind = kind_of(offer)
    every = [(relaxed.best(((kind, 1),), gpus, Phase.PREFILL), gpus) for gpus in range(1, offer.gpu_count + 1)]
    return _loss(relaxed, kind, every, network), _loss(relaxed, kind, every, world)


def _loss(relaxed: Relaxed, kind: GpuKind, every: Sequence[tuple[float, int]], link: Link) -> float:
    sent = ((rps, relaxed.sent_rps(((kind, 1),), gpus, link)) for rps, gpus in every)
    return max(1.0, min((inside / outside for inside, outside in sent if outside > 0), default=np.inf))
