"""Rates are tried in notches, each the same part above the one below: fleets that are as good get the same figure."""

from collections.abc import Callable
from math import ceil, floor, log

NOTCH = 1.02
STRIDE = 3
"""Notches by which a rate is first raised or lowered; then twice as many, until attainment crosses its target."""
HOPELESS = 0.05
"""Below this part of where it began the search gives up."""
LEAST_RPS, ENDLESS_RPS = 1e-9, 1e9
ROUNDING = 1e-9


def notch_above(rate_rps: float) -> float:
    """The least notch above a rate."""
    return float(NOTCH ** (floor(_notches(rate_rps) + ROUNDING) + 1))


def highest_rate(attains: Callable[[float], bool], start_rps: float, most_rps: float, stride: int = STRIDE) -> float:
    """The highest notch below `most_rps`, or that itself, that attains its target; 0 if none does.

    Bracketed from the notch of `start_rps` on in strides that double, then halved.
    """
    if min(start_rps, most_rps) <= 0:
        return 0.0
    top = ceil(_notches(min(most_rps, ENDLESS_RPS)) - ROUNDING)

    def rate(notch: int) -> float:
        return float(min(NOTCH**notch, most_rps))

    low = high = top if start_rps >= most_rps else floor(_notches(start_rps) + ROUNDING)
    if attains(rate(low)):
        while low < top and attains(rate(high := min(low + stride, top))):
            low, stride = high, 2 * stride
    else:
        while not attains(rate(low := high - stride)):
            high, stride = low, 2 * stride
            if rate(low) < start_rps * HOPELESS:
                return 0.0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if attains(rate(middle)) else (low, middle)
    return rate(low)


def _notches(rate_rps: float) -> float:
    return log(max(rate_rps, LEAST_RPS)) / log(NOTCH)
