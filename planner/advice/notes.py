"""What the reader of a plan should know: what was assumed, estimated, cut or avoided, each in a sentence."""

from collections.abc import Iterator
from datetime import datetime

from planner.advice.interruptions import interruptions_in_words
from planner.catalog import GpuType
from planner.choosing.candidate import Candidate
from planner.costmodel.coverage import unmeasured
from planner.demand import clipped_share
from planner.gpus import gpu_named
from planner.parallel.layouts import Task
from planner.workload import Workload

DIFFER = 0.1
"""Relative difference of simulated goodput and analytic score from which on the plan says so."""
STALE_DAYS, SECONDS_A_DAY = 7.0, 86_400
"""Interruptible prices move within days."""


def notes(
    task: Task,
    workload: Workload,
    chosen: Candidate,
    *,
    goodput_rps: float,
    market_as_of: str,
    market_source: str,
    now: datetime,
) -> tuple[str, ...]:
    """Of one finding, in the order in which they matter to whoever reads them."""
    return (
        "Latencies, attainment and goodput are simulated, not measured.",
        *_agreement(chosen.pairing.served_rps, goodput_rps),
        *_demand(task, workload, goodput_rps),
        *interruptions_in_words(chosen, goodput_rps),
        *(f"Not calibrated: {reason}." for reason in unmeasured(task.llm, gpus_of(chosen))),
        *_links(chosen),
        *_prices(chosen, market_as_of, market_source, now),
        "Start-up time is an estimate.",
    )


def gpus_of(chosen: Candidate) -> list[GpuType]:
    """The GPU types of the instances, each once, by name; as they were measured where they were."""
    known = {instance.gpu: gpu_named(instance.gpu) for instance in chosen.instances}
    for member in chosen.members:
        known |= member.gpus
    return [known[name] for name in sorted(known)]


def _agreement(score_rps: float, goodput_rps: float) -> Iterator[str]:
    """Simulation has the last word; where the score that was searched for is far from it, so may be its bound."""
    apart = goodput_rps / score_rps - 1
    if abs(apart) > DIFFER:
        yield (
            f"The simulated goodput of {goodput_rps:.2f} requests/s is {abs(apart):.0%} "
            f"{'above' if apart > 0 else 'below'} the analytic score of {score_rps:.2f}, which the search maximised "
            "and the gap is of."
        )


def _demand(task: Task, workload: Workload, goodput_rps: float) -> Iterator[str]:
    if not task.llm.kv_movable:
        yield (
            f"{task.llm.name} attends within windows of {task.llm.window} tokens: its KV cannot be moved between "
            "replicas yet, so each of them both prefills and decodes."
        )
    if clipped := clipped_share(workload, task.max_model_len):
        yield f"{clipped:.1%} of the requests are longer than {task.max_model_len} tokens and were cut to that."
    if workload.rate_rps and workload.rate_rps > goodput_rps:
        yield f"The asked {workload.rate_rps:g} requests/s are more than the {goodput_rps:.1f} it serves."


def _links(chosen: Candidate) -> Iterator[str]:
    if any(hop and hop.link.estimated for hop in chosen.pairing.hops):
        yield "Links between instances are estimated from their offers."


def _prices(chosen: Candidate, market_as_of: str, market_source: str, now: datetime) -> Iterator[str]:
    age_days = _age_days(market_as_of, now)
    stale = f"{age_days:.0f} days old: look again before renting" if age_days > STALE_DAYS else ""
    if market_source == "snapshot":
        source = f"Prices are of the snapshot in the package, as of {market_as_of[:10]}"
        yield f"{source}, {stale}." if stale else f"{source}."
    elif stale:
        yield f"Prices are {stale}."
    bought = sorted({instance.provider for instance in chosen.instances if not instance.leasable})
    if bought:
        yield f"The offers of {', '.join(bought)} are not live ones: this plan is for reading only."


def _age_days(as_of: str, now: datetime) -> float:
    """0 where a plan does not say when its market was, as one written by hand may not."""
    try:
        return (now - datetime.fromisoformat(as_of)).total_seconds() / SECONDS_A_DAY
    except (ValueError, TypeError):
        return 0.0
