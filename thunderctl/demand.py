"""The workload that the router saw: what a rebalance is decided on where nobody says what is coming."""

from collections.abc import Mapping
from typing import Any

from planner.deployment import Plan
from planner.workload import Workload

FEWEST_OBSERVED = 20
"""Requests below which the observed lengths say too little."""


def observed_lengths(observed: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    """(prompt, output) tokens of the requests in the router's window."""
    return tuple((int(prompt), max(int(output), 1)) for prompt, output in observed.get("lengths", ()))


def observed_workload(observed: Mapping[str, Any], current: Plan, rate_rps: float | None = None) -> Workload | None:
    """It, taken to be as bursty and as cached as the plan's; None where too few requests were seen."""
    lengths = observed_lengths(observed)
    if len(lengths) < FEWEST_OBSERVED:
        return None
    stream = current.workload.burstiness, current.workload.prefix_hit_share
    return Workload("observed", lengths, rate_rps or observed.get("rate_rps") or None, *stream)
