"""The demand and its targets: `Workload` and `Slo`."""

from dataclasses import dataclass, replace
from statistics import fmean


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests of a joint length distribution, arriving at a rate.

    `lengths` are equally likely (prompt tokens, output tokens) pairs: a sample of the trace or the preset itself, so
    that prompt and output stay correlated as they were seen. `rate_rps` is None when the most should be found.
    """

    name: str
    lengths: tuple[tuple[int, int], ...]
    rate_rps: float | None = None

    def __post_init__(self) -> None:
        if not self.lengths:
            raise ValueError(f"Workload {self.name} has no requests; expected 1 or more.")
        if self.rate_rps is not None and self.rate_rps <= 0:
            raise ValueError(f"Workload {self.name} has {self.rate_rps} requests/s; expected more than 0.")

    @property
    def prompt_tokens_mean(self) -> float:
        return fmean(prompt for prompt, _ in self.lengths)

    @property
    def output_tokens_mean(self) -> float:
        return fmean(output for _, output in self.lengths)

    def at(self, rate_rps: float) -> "Workload":
        """The same lengths at another rate."""
        return replace(self, rate_rps=rate_rps)


@dataclass(frozen=True, slots=True)
class Slo:
    """The targets: seconds to the first token, seconds per later token, and the share of requests to meet both."""

    ttft_s: float = 2.0
    tpot_s: float = 0.15
    attainment: float = 0.9

    def __post_init__(self) -> None:
        if self.ttft_s <= 0 or self.tpot_s <= 0:
            raise ValueError(f"SLO has TTFT {self.ttft_s} s and TPOT {self.tpot_s} s; expected more than 0.")
        if not 0 < self.attainment <= 1:
            raise ValueError(f"SLO attainment is {self.attainment}; expected more than 0 and at most 1.")
