"""The demand and its targets: `Workload` and `Slo`."""

from dataclasses import dataclass, replace
from math import inf
from statistics import fmean

LEAST_BURSTINESS, MOST_BURSTINESS = 0.001, 1000.0
"""Beyond these, arrivals come all at once, or evenly."""
LEAST_MODEL_LEN = 2
"""Tokens of the shortest request: one of prompt and one of output."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests of a joint length distribution, arriving at a rate.

    `lengths` are equally likely (prompt tokens, output tokens) pairs: a sample of the trace or the preset itself, so
    that prompt and output stay correlated as they were seen. `rate_rps` is None when the most should be found.
    `burstiness` is the shape of the Gamma distribution of inter-arrival times (1: Poisson, below 1: bursty), and
    `prefix_hit_share` the part of the prompt tokens that replicas find in their prefix cache.
    """

    name: str
    lengths: tuple[tuple[int, int], ...]
    rate_rps: float | None = None
    burstiness: float = 1.0
    prefix_hit_share: float = 0.0

    def __post_init__(self) -> None:
        if not self.lengths:
            raise ValueError(f"Workload {self.name} has no requests; expected 1 or more.")
        if self.rate_rps is not None and not 0 < self.rate_rps < inf:
            raise ValueError(f"Workload {self.name} has {self.rate_rps} requests/s; expected more than 0, and finite.")
        check_stream(self.name, self.burstiness, self.prefix_hit_share)

    @property
    def prompt_tokens_mean(self) -> float:
        return fmean(prompt for prompt, _ in self.lengths)

    @property
    def output_tokens_mean(self) -> float:
        return fmean(output for _, output in self.lengths)

    def at(self, rate_rps: float) -> "Workload":
        """The same lengths at another rate."""
        return replace(self, rate_rps=rate_rps)


def check_stream(name: str, burstiness: float, prefix_hit_share: float) -> None:
    """Raise ValueError for arrivals or prefix hits that no workload can have."""
    if not LEAST_BURSTINESS <= burstiness <= MOST_BURSTINESS:
        raise ValueError(
            f"Workload {name} has burstiness {burstiness}; expected {LEAST_BURSTINESS} to {MOST_BURSTINESS:g}."
        )
    if not 0 <= prefix_hit_share < 1:
        raise ValueError(f"Workload {name} has prefix hit share {prefix_hit_share}; expected at least 0 and below 1.")


@dataclass(frozen=True, slots=True)
class Slo:
    """The targets: seconds to the first token, seconds per later token, and the share of requests to meet both."""

    ttft_s: float = 2.0
    tpot_s: float = 0.15
    attainment: float = 0.9

    def __post_init__(self) -> None:
        if not (0 < self.ttft_s < inf and 0 < self.tpot_s < inf):
            raise ValueError(
                f"SLO has TTFT {self.ttft_s} s and TPOT {self.tpot_s} s; expected more than 0, and finite."
            )
        if not 0 < self.attainment <= 1:
            raise ValueError(f"SLO attainment is {self.attainment}; expected more than 0 and at most 1.")
