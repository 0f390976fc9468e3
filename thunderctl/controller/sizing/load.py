"""What comes in, counted in requests like those that the plan was made for."""

from collections.abc import Mapping
from typing import Any

from planner.deployment import Plan
from thunderctl.demand import FEWEST_OBSERVED, observed_lengths

LEAST_WINDOW_S, MANY = 60.0, 1000
"""A router that has just begun to look says too little, unless so many requests came. One that is asked for hundreds a
second remembers the last ones alone, which are of less than a minute."""


def load_of(observed: Mapping[str, Any] | None, plan: Plan) -> float | None:
    """Requests/s, times how much longer they are than planned in the phase where that is more; None: not known.

    Shorter ones count as less. Where too few have ended to know their lengths, they count as planned.
    """
    if not observed or "rate_rps" not in observed or not _is_enough(observed):
        return None
    lengths = observed_lengths(observed)
    if len(lengths) < FEWEST_OBSERVED:
        return float(observed["rate_rps"])
    prompt = sum(prompt for prompt, _ in lengths) / len(lengths)
    output = sum(output for _, output in lengths) / len(lengths)
    longer = max(prompt / plan.workload.prompt_tokens_mean, output / plan.workload.output_tokens_mean)
    return float(observed["rate_rps"]) * longer


def _is_enough(observed: Mapping[str, Any]) -> bool:
    window_s = float(observed.get("window_s", 0.0))
    return window_s >= LEAST_WINDOW_S or window_s * float(observed["rate_rps"]) >= MANY
