"""The workload that the router saw: what a rebalance is decided on where nobody says what is coming.

Where too little was seen it is what the spec says, and where that can't be read any more, what the plan knows of it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from planner.deployment import Plan
from planner.errors import SpecError
from planner.traces import PRESETS, workload_named
from planner.workload import Workload
from thunderctl.spec.inputs import read_workload
from thunderctl.spec.spec import Spec

FEWEST_OBSERVED = 20
"""Requests below which the observed lengths say too little."""
LIKE = "conversation"
"""The preset as whose lengths those are spread of which only the means are known."""


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


def stated_workload(spec: Spec, current: Plan) -> tuple[Workload, str]:
    """What the spec says is coming; where its trace can't be read, the plan's, and why: no route waits for a file."""
    try:
        return read_workload(spec), ""
    except SpecError as error:
        return planned_workload(current), f"{error.message} The plan's means are taken for what is coming."


def planned_workload(current: Plan) -> Workload:
    """What a plan was made for. Of lengths it keeps the means: they are spread as a preset's are, which is a guess."""
    planned = current.workload
    like = workload_named(planned.name if planned.name in PRESETS else LIKE)
    prompts, outputs = planned.prompt_tokens_mean, planned.output_tokens_mean
    wider = (prompts / like.prompt_tokens_mean, outputs / like.output_tokens_mean)
    lengths = tuple((max(round(one * wider[0]), 1), max(round(other * wider[1]), 1)) for one, other in like.lengths)
    return replace(
        like,
        name=planned.name,
        lengths=lengths,
        rate_rps=planned.rate_rps,
        burstiness=planned.burstiness,
        prefix_hit_share=planned.prefix_hit_share,
    )
