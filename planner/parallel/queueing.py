"""Waiting at one server, and how many are in service at many: what capacities know of arrivals other than their rate.

Arrivals are a renewal process whose inter-arrival times have the squared coefficient of variation ca² (1: Poisson).
Waiting follows the heavy-traffic form of Kingman ("The single server queue in heavy traffic", 1961), as Allen and
Cunneen write it for GI/G/1; with ca² = 1 it is the Pollaczek-Khinchine mean of M/G/1:

    E[W] = rho / (1 - rho) E[S] (ca² + cs²) / 2,    the share rho waits, exponentially long
"""

import numpy as np

from planner.demand import Floats

LEAST_SPREAD, LEAST_S = 1e-6, 1e-12
"""Keep logarithms finite."""


def waits_within(slack_s: Floats, service_s: Floats, busy: Floats, arrival_variation: float) -> Floats:
    """Chance of waiting at most `slack_s`, by utilisation `busy` (rows) and request (columns).

    `service_s` has one row, or one for each utilisation, of equally likely service times.
    """
    means = service_s.mean(axis=1)
    wait_s = square_work(service_s, arrival_variation) / (2 * means * (1 - busy))
    waits = busy[:, None] * np.exp(-np.maximum(slack_s, 0) / wait_s[:, None])
    return np.where(slack_s >= 0, 1 - waits, 0.0)


def square_work(service_s: Floats, arrival_variation: float) -> Floats:
    """Var S + ca² E[S]² by row: the variance, for each arrival, of the work that a long time brings.

    E[S²] for Poisson arrivals, and E[S]² (ca² + cs²) for any.
    """
    return np.asarray(service_s.var(axis=1) + arrival_variation * service_s.mean(axis=1) ** 2)


def peakedness(arrival_variation: float) -> float:
    """Variance ÷ mean of the number in service where nobody waits and service times are exponential: (1 + ca²) / 2.

    For Poisson arrivals it is 1 whatever the service times. Eckberg, "Generalized peakedness of teletraffic
    processes", 1983.
    """
    return (1 + arrival_variation) / 2


def work_within(allowed_s: Floats, arrivals: Floats, service_s: Floats, arrival_variation: float) -> Floats:
    """Chance that a time brings at most `allowed_s` of work, where it brings so many `arrivals` on average.

    None comes with the chance of a negative binomial number whose variance is ca² times its mean (Poisson at 1); what
    comes otherwise is taken as log-normal, with the mean and variance that are left to it.
    """
    none = np.exp(-arrivals * _bunching(arrival_variation))
    some = 1 - none
    mean = arrivals * service_s.mean(axis=1)[:, None]
    square = arrivals * square_work(service_s, arrival_variation)[:, None] + mean**2
    log_square = np.log(np.maximum(square * some / mean**2, 1 + LEAST_SPREAD))
    log_mean = np.log(mean / some) - log_square / 2
    beyond = (np.log(np.maximum(allowed_s, LEAST_S)) - log_mean) / np.sqrt(log_square)
    return np.where(allowed_s >= 0, none + some * _normal_cdf(beyond), 0.0)


def _bunching(arrival_variation: float) -> float:
    """ln z / (z - 1): how many groups, for each arrival, a negative binomial number of ratio z makes. 1 for Poisson."""
    excess = arrival_variation - 1
    return float(np.log1p(excess) / excess) if abs(excess) > LEAST_SPREAD else 1.0


def _normal_cdf(x: Floats) -> Floats:
    """To about 2e-4 (Page's approximation)."""
    return np.asarray(0.5 * (1 + np.tanh(0.7978846 * x * (1 + 0.044715 * x * x))))
