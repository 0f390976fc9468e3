"""`Task`: what replicas are for."""

from dataclasses import dataclass
from functools import cached_property

from planner.demand import Demand
from planner.llm import LlmSpec
from planner.workload import Slo

SKETCH = 48
"""Pairs of the thinnest demand."""


@dataclass(frozen=True)
class Task:
    """What replicas are for: the model, the demand in tokens, the SLO and the longest request admitted."""

    llm: LlmSpec
    demand: Demand
    slo: Slo
    max_model_len: int

    @cached_property
    def mean_prompt(self) -> tuple[float, float]:
        """Tokens that a pass computes of a prompt, and what attention over it costs, in tokens²: means."""
        return float(self.demand.computed.mean()), float(self.demand.pairs.mean())

    @cached_property
    def mean_decoding(self) -> tuple[float, float]:
        """Tokens that a decoding request attends to, and tokens that it holds when it ends: means."""
        return self.demand.context, self.demand.held

    @cached_property
    def sample(self) -> Demand:
        """A thinner demand, for capacities."""
        return self.demand.thinned()

    @cached_property
    def sketch(self) -> Demand:
        """One thinner still, to tell layouts apart whose rates take long to work out."""
        return self.demand.thinned(SKETCH)
