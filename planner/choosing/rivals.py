"""Other ways to spend the money, which the score may underrate: simulation is asked about them as well.

The score takes arrivals at each replica to be as bursty as all of them. A router that deals them out in rotation makes
them the more even the more replicas there are, which helps colocated fleets of many replicas alike most.
"""

from collections.abc import Iterator

import numpy as np

from planner.deployment import Phase
from planner.procurement.shop import Choice

GPU_TYPES = 3
"""So many GPU types are tried alone: those whose mixed groups cost least for what they serve."""


def rivals_of(choice: Choice) -> Iterator[Choice]:
    """The offers with mixed groups only, with none of them, and with mixed groups of one GPU type only."""
    mixed = choice.without(Phase.PREFILL, Phase.DECODE)
    yield mixed
    yield choice.without(Phase.MIXED)
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
