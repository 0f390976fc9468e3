"""Other ways to spend the money, which the score may underrate: simulation is asked about them as well.

Where the score errs, it errs for one kind of group: KV on the way and phases that wait for each other, the passes of a
pipeline that hold each other up, a GPU type whose many replicas share their arrivals evenly. Each rival is the best
without a kind, or of one.
"""

from collections.abc import Iterator

import numpy as np

from planner.deployment import Phase
from planner.procurement.shop import Choice

GPU_TYPES = 3
"""So many GPU types are tried alone: those whose mixed groups cost least for what they serve."""


def rivals_of(choice: Choice, *, rent_all: bool = False) -> Iterator[Choice]:
    """The offers with mixed groups only, with none of them, both without pipelines, and of one GPU type only.

    Where all offers are rented anyway, they are of every type.
    """
    mixed, split = choice.without(Phase.PREFILL, Phase.DECODE), choice.without(Phase.MIXED)
    yield from (mixed, mixed.without_pipelines(), split, split.without_pipelines())
    if rent_all:
        return
    names = np.array([offer.gpu.name for offer in choice.offers])
    cheapest = sorted((_usd_per_rps(choice, names, name), name) for name in sorted(set(names.tolist())))
    for usd_per_rps, name in cheapest[:GPU_TYPES]:
        if np.isfinite(usd_per_rps):
            yield mixed.of_offers(names == name)


def _usd_per_rps(choice: Choice, names: np.ndarray[tuple[int], np.dtype[np.str_]], name: str) -> float:
    """$/h for 1 request/s of the best mixed group of a GPU type, which pays for its part of an instance."""
    of = choice.mixed
    share = choice.shop.usd_per_hour[of.offer] * of.gpus / choice.shop.gpus[of.offer]
    return float(np.min(share / of.rps, where=names[of.offer] == name, initial=np.inf))
