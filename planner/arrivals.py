"""When requests arrive: renewal processes of a given rate, from even through Poisson to bursty."""

import numpy as np

from planner.demand import Floats
from planner.errors import SpecError
from planner.workload import LEAST_BURSTINESS


def arrival_times(count: int, rate_rps: float, *, burstiness: float = 1.0, random: np.random.Generator) -> Floats:
    """Seconds of `count` arrivals, in order; the mean time between two is 1 / `rate_rps`.

    Inter-arrival times follow a Gamma distribution of shape `burstiness`, which is the word and the meaning of vLLM's
    own benchmark (`vllm bench serve --burstiness`): 1 is Poisson, below 1 arrivals come in bursts, far above 1 they
    come evenly. The squared coefficient of variation is 1 / `burstiness`.
    """
    if count < 0:
        raise SpecError(f"{count} arrivals were asked for; expected 0 or more.")
    if not 0 < rate_rps < np.inf:
        raise SpecError(f"The arrival rate is {rate_rps} requests/s; expected a finite number above 0.")
    if not LEAST_BURSTINESS <= burstiness < np.inf:
        raise SpecError(f"Burstiness is {burstiness}; expected {LEAST_BURSTINESS} or more.", hint="1 is Poisson.")
    return np.cumsum(random.gamma(burstiness, 1 / (burstiness * rate_rps), count))
