"""Whether two observed workloads differ by more than chance: where not, what was said of one holds for the other."""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, pvariance

from planner.workload import Workload

SIGMAS = 2.0


def alike(one: Workload, other: Workload) -> bool:
    """Whether rates and mean lengths are as two windows of the same requests might have them."""
    if one.rate_rps is None or other.rate_rps is None:
        return False
    counted = sqrt(1 / len(one.lengths) + 1 / len(other.lengths))
    if abs(one.rate_rps - other.rate_rps) > SIGMAS * counted * max(one.rate_rps, other.rate_rps):
        return False
    return all(
        _same_mean([pair[side] for pair in one.lengths], [pair[side] for pair in other.lengths]) for side in (0, 1)
    )


def _same_mean(one: Sequence[int], other: Sequence[int]) -> bool:
    error = sqrt(pvariance(one) / len(one) + pvariance(other) / len(other))
    return abs(fmean(one) - fmean(other)) <= SIGMAS * error
