"""The requests that a command's flags ask for: a trace as it is, or arrivals at a rate."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from planner.errors import SpecError
from planner.workload import LEAST_BURSTINESS, MOST_BURSTINESS

MOST_REQUESTS = 1_000_000
DURATION_S = 120.0
_SHARE = "at least 0 and below 1"

if TYPE_CHECKING:
    from planner.deployment import Plan
    from planner.simulation.scenario import Requests
    from planner.workload import Workload


@dataclass(frozen=True, slots=True)
class Stream:
    """What a command's flags ask to be played; None where the plan, or a default, decides."""

    workload: str | None
    rate: float | None
    duration: float | None
    burstiness: float | None
    prefix_hits: float | None
    trace: Path | None
    seed: int


def asked_requests(plan: "Plan", stream: Stream, otherwise: "Callable[[], Workload] | None" = None) -> "Requests":
    """What the flags ask for, else what the plan was made for; `otherwise` where the plan does not hold its lengths."""
    from planner.replay import requests_of, with_prefix_hits
    from planner.traces import trace_from_csv
    from thunderctl.spec.inputs import read_text

    hits = _within("--prefix-hits", stream.prefix_hits, plan.workload.prefix_hit_share, lambda x: 0 <= x < 1, _SHARE)
    if stream.trace is None:
        return _made_up(plan, stream, hits, otherwise)
    own = {
        "--workload": stream.workload,
        "--rate": stream.rate,
        "--duration": stream.duration,
        "--burstiness": stream.burstiness,
    }
    for flag, value in own.items():
        if value is not None:
            raise SpecError(
                f"{flag} was given beside --trace, which brings its own arrivals and lengths.",
                hint=f"Leave out one of the two; `--workload {stream.trace}` takes only the lengths.",
            )
    return with_prefix_hits(requests_of(trace_from_csv(read_text(stream.trace), str(stream.trace))), hits)


def _made_up(plan: "Plan", stream: Stream, hits: float, otherwise: "Callable[[], Workload] | None") -> "Requests":
    """Arrivals at a rate, with the lengths of a workload."""
    from planner.demand import demand_of
    from planner.evaluate import requests_at

    shape = _within(
        "--burstiness",
        stream.burstiness,
        plan.workload.burstiness,
        lambda x: LEAST_BURSTINESS <= x <= MOST_BURSTINESS,
        f"{LEAST_BURSTINESS} to {MOST_BURSTINESS:g}",
    )
    rps = _within("--rate", stream.rate, plan.workload.rate_rps, lambda x: 0 < x < math.inf, "requests/s above 0")
    duration = _within("--duration", stream.duration, DURATION_S, math.isfinite, "seconds, 1 or more")
    if not rps * duration <= MOST_REQUESTS:
        raise SpecError(f"{rps:g} requests/s for {duration:g} s are too many; expected {MOST_REQUESTS:,} or fewer.")
    lengths = _workload(plan, stream, otherwise)
    demand = demand_of(replace(lengths, burstiness=shape, prefix_hit_share=hits), plan.max_model_len)
    return requests_at(rps, demand, duration, seed=stream.seed)


def _workload(plan: "Plan", stream: Stream, otherwise: "Callable[[], Workload] | None") -> "Workload":
    from planner.traces import PRESETS
    from thunderctl.cli.flags import with_flags
    from thunderctl.spec.inputs import read_workload
    from thunderctl.spec.spec import Spec

    if stream.workload is None and plan.workload.name not in PRESETS:
        if otherwise is not None:
            return otherwise()
        raise SpecError(
            f"The plan was made for {plan.workload.name}, whose lengths it does not hold.",
            hint="Name the workload: --workload coding, conversation or the trace's CSV.",
        )
    return read_workload(with_flags(Spec(), workload=stream.workload or plan.workload.name, rate=stream.rate))


def _within(flag: str, given: float | None, otherwise: float, allows: Callable[[float], bool], expected: str) -> float:
    value = otherwise if given is None else given
    if not allows(value):
        raise SpecError(f"{flag} is {value:g}; expected {expected}.")
    return value
