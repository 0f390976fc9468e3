"""The workload as the cost model reads it: clipped lengths as arrays, and the moments that size a decode batch."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from planner.llm import LlmSpec
from planner.traces import stratified
from planner.workload import Workload

SAMPLE = 200
"""Pairs that the analytic capacities average over; simulation takes all of them."""
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Demand:
    """Prompt and output tokens of equally likely requests, and how they come.

    `cached_share` of every prompt is found in the prefix cache: held in KV, but not computed. `burstiness` is the shape
    of the Gamma distribution of inter-arrival times. `fleet_rps` is what the whole fleet is to serve, where that is
    known (0: as if one replica saw all arrivals).

    A decoding request is met in proportion to its output, and at any token of it alike, so the moments of what a batch
    attends to, which is what its KV takes up, are weighted by it: `context` is their mean, `context_square` the mean of
    their squares.
    """

    prompt: Floats
    output: Floats
    cached_share: float = 0.0
    burstiness: float = 1.0
    fleet_rps: float = 0.0

    @cached_property
    def cached(self) -> Floats:
        """Whole tokens of each prompt that need no computing; the share is below 1, so its last token always does."""
        return np.floor(self.cached_share * self.prompt)

    @cached_property
    def computed(self) -> Floats:
        """Tokens of each prompt that a pass computes."""
        return self.prompt - self.cached

    @cached_property
    def pairs(self) -> Floats:
        """What attention over each prompt costs, in tokens²: n² - c², since cached queries are not asked again."""
        return self.prompt**2 - self.cached**2

    @property
    def arrival_variation(self) -> float:
        """Squared coefficient of variation of the inter-arrival times, ca²: 1 / shape for Gamma."""
        return 1 / self.burstiness

    @property
    def least_variation(self) -> float:
        """No replica's ca² is less."""
        return 0.0 if self.fleet_rps else self.arrival_variation

    def variation_at(self, rps: Floats) -> Floats:
        """ca² of what reaches a replica that takes `rps` of the fleet's requests/s.

        A router deals requests out in rotation, so a replica sees one in n = fleet ÷ rps of them: the sum of n
        independent intervals varies ca² / n.
        """
        if not self.fleet_rps:
            return np.full_like(rps, self.arrival_variation)
        return np.asarray(self.arrival_variation * np.minimum(1.0, rps / self.fleet_rps))

    @cached_property
    def output_mean(self) -> float:
        return float(self.output.mean())

    @cached_property
    def prompt_mean(self) -> float:
        return float(self.prompt.mean())

    @cached_property
    def context(self) -> float:
        return float(np.average(self.prompt + self.output / 2, weights=self.output))

    @cached_property
    def context_square(self) -> float:
        square = self.prompt**2 + self.prompt * self.output + self.output**2 / 3
        return float(np.average(square, weights=self.output))

    def thinned(self, size: int = SAMPLE) -> "Demand":
        pairs = stratified([(int(p), int(o)) for p, o in zip(self.prompt, self.output, strict=True)], size)
        prompt, output = np.array(pairs, dtype=np.float64).T
        return replace(self, prompt=prompt, output=output)


def demand_of(workload: Workload, max_model_len: int) -> Demand:
    """The lengths a replica admits: prompt and output together are clipped to `max_model_len`, the output to half."""
    prompt, output = np.array(workload.lengths, dtype=np.float64).T
    output = np.minimum(output, max_model_len // 2)
    prompt = np.minimum(prompt, max_model_len - output)
    return Demand(prompt, output, workload.prefix_hit_share, workload.burstiness)


def clipped_share(workload: Workload, max_model_len: int) -> float:
    """The part of the requests that is longer than `max_model_len`."""
    return sum(prompt + output > max_model_len for prompt, output in workload.lengths) / len(workload.lengths)


def longest_request(llm: LlmSpec, max_model_len: int) -> int:
    """Tokens of the longest admitted request: what was asked for, but not more than the model's positions."""
    return min(max_model_len, llm.max_positions)
