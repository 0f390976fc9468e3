"""The least time in which a pipeline's slowest stage can be, whatever layers its stages hold."""

from collections.abc import Sequence

import numpy as np

from planner.demand import Floats

EPSILON = 1e-9
"""Of a layer: rounding of quotients."""


def least_slowest_s(layer_s: Sequence[Floats], most: Sequence[Floats], counts: Sequence[int], layers: int) -> Floats:
    """The least T with sum_s count_s min(T / layer_s, most_s) >= layers, infinite where there is none.

    Of each kind of stages: what a layer takes, how many layers one may hold, and how many stages there are. Those that
    are full drop out, and the others share what is left, until no more get full.
    """
    kinds = list(zip(layer_s, most, counts, strict=True))
    full = [np.zeros(np.broadcast(each, limit).shape, dtype=bool) for each, limit, _ in kinds]
    found = np.zeros(np.broadcast(*layer_s, *most).shape)
    for _ in kinds:
        held = sum(count * np.where(done, limit, 0.0) for done, (_, limit, count) in zip(full, kinds, strict=True))
        speed = sum(count * np.where(done, 0.0, 1 / each) for done, (each, _, count) in zip(full, kinds, strict=True))
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.where(held >= layers - EPSILON, found, (layers - held) / speed)
        full = [done | (found / each > limit) for done, (each, limit, _) in zip(full, kinds, strict=True)]
    possible = sum(count * limit for _, limit, count in kinds) >= layers - EPSILON
    return np.where(possible, found, np.inf)


def least_whole_s(layer_s: Sequence[Floats], most: Sequence[Floats], counts: Sequence[int], layers: int) -> Floats:
    """As `least_slowest_s`, for whole layers: from there, in steps of a layer, until all are held."""
    kinds = [(each, np.floor(limit + EPSILON), count) for each, limit, count in zip(layer_s, most, counts, strict=True)]
    found = least_slowest_s(layer_s, [limit for _, limit, _ in kinds], counts, layers)
    for _ in range(sum(counts)):
        held = [np.minimum(np.floor(found / each + EPSILON), limit) for each, limit, _ in kinds]
        short = sum(count * own for own, count in zip(held, counts, strict=True)) < layers
        if not (short & np.isfinite(found)).any():
            return found
        steps = (
            np.where(own < limit, (own + 1) * each, np.inf) for own, (each, limit, _) in zip(held, kinds, strict=True)
        )
        found = np.where(short, np.minimum.reduce(list(np.broadcast_arrays(*steps))), found)
    return found
