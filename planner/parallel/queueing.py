"""Waiting at one server, and how many are in service at many: what capacities know of arrivals other than their rate.

Arrivals are a renewal process whose inter-arrival times have the squared coefficient of variation ca² (1: Poisson).
Waiting is Whitt's for GI/G/1 ("The queueing network analyzer", 1983): Kingman's heavy-traffic mean, corrected for even
arrivals as by Kraemer and Langenbach-Belz, with their chance of waiting at all, and exponential beyond that:

    E[W] = g rho / (1 - rho) E[S] (ca² + cs²) / 2,    g = exp(-2 (1 - rho) (1 - ca²)² / (3 rho (ca² + cs²)))

Beyond ca² = 1, g is 1. With ca² = 1 it is the Pollaczek-Khinchine mean of M/G/1, and the share rho waits.
"""

from typing import TypeAlias

import numpy as np

from planner.demand import Floats

Variation: TypeAlias = float | Floats
"""ca² of all rows, or of each."""
LEAST_SPREAD, LEAST_S = 1e-6, 1e-12
"""Keep logarithms finite."""


def waits_within(slack_s: Floats, service_s: Floats, busy: Floats, arrival_variation: Variation) -> Floats:
    """Chance of waiting at most `slack_s`, by utilisation `busy` (rows) and request (columns).

    `service_s` has one row, or one for each utilisation, of equally likely service times; `arrival_variation` is one,
    or one for each utilisation.
    """
    means = service_s.mean(axis=1)
    spread = square_work(service_s, arrival_variation) / means**2
    evenness = np.minimum(arrival_variation, 1.0) - 1
    calmed = np.exp(-2 * (1 - busy) * evenness**2 / (3 * busy * np.maximum(spread, LEAST_SPREAD)))
    wait_s = busy / (1 - busy) * means * spread / 2 * calmed
    waiting = _waiting(busy, arrival_variation, spread)
    beyond_s = np.maximum(wait_s / waiting, LEAST_S)
    waits = waiting[:, None] * np.exp(-np.maximum(slack_s, 0) / beyond_s[:, None])
    return np.where(slack_s >= 0, 1 - waits, 0.0)


def _waiting(busy: Floats, arrival_variation: Variation, spread: Floats) -> Floats:
    """Chance of waiting at all; `spread` is ca² + cs². Equations 47 to 51 of Whitt."""
    service = spread - arrival_variation
    common = busy**2 * (3 * arrival_variation + spread)
    even = (1 + arrival_variation + busy * service) / (1 + busy * (service - 1) + common)
    bursty = 4 * busy / np.maximum(arrival_variation + common, LEAST_SPREAD)
    share = busy + (arrival_variation - 1) * busy * (1 - busy) * np.where(
        np.asarray(arrival_variation) < 1, even, bursty
    )
    return np.asarray(np.clip(share, LEAST_SPREAD, 1.0))


def square_work(service_s: Floats, arrival_variation: Variation) -> Floats:
    """Var S + ca² E[S]² by row: the variance, for each arrival, of the work that a long time brings.

    E[S²] for Poisson arrivals, and E[S]² (ca² + cs²) for any.
    """
    return np.asarray(service_s.var(axis=1) + arrival_variation * service_s.mean(axis=1) ** 2)


def peakedness(arrival_variation: Variation) -> Variation:
    """Variance ÷ mean of the number in service where nobody waits and service times are exponential: (1 + ca²) / 2.

    For Poisson arrivals it is 1 whatever the service times. Eckberg, "Generalized peakedness of teletraffic
    processes", 1983.
    """
    return (1 + arrival_variation) / 2


def work_within(allowed_s: Floats, arrivals: Floats, service_s: Floats, arrival_variation: Variation) -> Floats:
    """Chance that the time after an arrival brings at most `allowed_s` of work, where any such time brings so many
    `arrivals` on average.

    None comes with the chance that the next interval is longer; what comes otherwise is taken as log-normal, with the
    mean and variance that are left to it.
    """
    variation = np.reshape(np.asarray(arrival_variation, dtype=np.float64), (-1, 1))
    none = np.where(variation < 1, _longer_intervals(arrivals, variation), np.exp(-arrivals * _bunching(variation)))
    some = np.maximum(1 - none, LEAST_SPREAD)
    count = np.where(variation < 1, _after_an_arrival(arrivals, variation, some), arrivals)
    counts = np.maximum(count, variation * arrivals + count**2)
    each = service_s.mean(axis=1)[:, None]
    mean = count * each
    square = count * service_s.var(axis=1)[:, None] + counts * each**2
    log_square = np.log(np.maximum(square * some / mean**2, 1 + LEAST_SPREAD))
    log_mean = np.log(mean / some) - log_square / 2
    beyond = (np.log(np.maximum(allowed_s, LEAST_S)) - log_mean) / np.sqrt(log_square)
    return np.where(allowed_s >= 0, none + (1 - none) * _normal_cdf(beyond), 0.0)


def _after_an_arrival(arrivals: Floats, variation: Floats, some: Floats) -> Floats:
    """How many come in a time: in the long run (ca² - 1) / 2 more than on average. The evener, the more surely the
    second comes an interval after the first."""
    lasting, after = arrivals + (variation - 1) / 2, np.maximum(arrivals + (variation - 3) / 2, 0.0)
    return np.asarray(variation * np.maximum(some, lasting) + (1 - variation) * (some + after))


def _longer_intervals(means: Floats, variation: Floats) -> Floats:
    """Chance that an interval of mean 1 is longer than `means`, if it is Gamma distributed (Wilson and Hilferty)."""
    roots = 3 / np.sqrt(np.maximum(variation, LEAST_SPREAD))
    return _normal_cdf((1 - 1 / roots**2 - np.cbrt(means)) * roots)


def _bunching(variation: Floats) -> Floats:
    """ln z / (z - 1): how many groups, for each arrival, a negative binomial number of ratio z makes. 1 for Poisson."""
    excess = np.maximum(variation - 1, LEAST_SPREAD)
    return np.asarray(np.log1p(excess) / excess)


def _normal_cdf(x: Floats) -> Floats:
    """To about 2e-4 (Page's approximation)."""
    return np.asarray(0.5 * (1 + np.tanh(0.7978846 * x * (1 + 0.044715 * x * x))))
