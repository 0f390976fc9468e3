"""`Task`: what replicas are for."""

from dataclasses import dataclass, replace
from functools import cached_property

from planner.demand import Demand, Floats
from planner.llm import LlmSpec
from planner.parallel.capacity import BATCHES, kv_held, with_margin
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

    def in_fleet(self, fleet_rps: float) -> "Task":
        """The same for replicas of a fleet that serves so many requests/s (0: unknown)."""
        return replace(self, demand=replace(self.demand, fleet_rps=fleet_rps))

    @cached_property
    def mean_prompt(self) -> tuple[float, float]:
        """Tokens that a pass computes of a prompt, and what attention over it costs, in tokens²: means."""
        return float(self.demand.computed.mean()), float(self.demand.pairs.mean())

    @cached_property
    def mean_context(self) -> float:
        """Tokens that a decoding request attends to."""
        return self.demand.context

    @cached_property
    def batches(self) -> tuple[Floats, Floats]:
        """Of each of BATCHES: tokens of KV that it holds, and its size, exceeded too rarely to matter."""
        return kv_held(self.sample, self.slo, BATCHES), with_margin(BATCHES, self.sample, self.slo)

    @cached_property
    def sample(self) -> Demand:
        """A thinner demand, for capacities."""
        return self.demand.thinned()

    @cached_property
    def sketch(self) -> Demand:
        """One thinner still, to tell layouts apart whose rates take long to work out."""
        return self.demand.thinned(SKETCH)
