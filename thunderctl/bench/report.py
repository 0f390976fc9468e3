"""`thunder.bench/v1`: what was measured, beside what the plan predicted. Pure."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from planner.deployment import Plan
from planner.evaluate import Measures
from planner.replay import replay
from thunderctl.bench.tally import Tally

BENCH_SCHEMA = "thunder.bench/v1"
PERCENTILE = re.compile(r".*_p\d+_s$")
COMPARED = (
    "slo_attainment",
    "goodput_rps",
    "throughput_tokens_per_s",
    *(f"{what}_{which}_s" for what in ("ttft", "tpot") for which in ("p50", "p90", "p99")),
    *("e2e_p50_s", "e2e_p99_s"),
)


@dataclass(frozen=True, slots=True)
class Bench:
    """One run: of which plan in which epoch, where, what came of its requests, and how long that took.

    `too_long` requests were more than the plan admits, and not sent; `kv_bytes` is what agents say that they received
    meanwhile, None where one of them didn't say.
    """

    plan: Plan
    epoch: int
    endpoint: str
    tally: Tally
    too_long: int
    seed: int
    wall_s: float
    interrupted: bool = False
    kv_bytes: float | None = None


def simulated(run: Bench) -> Measures | None:
    """What the simulator makes of the very same requests; None where none was sent."""
    begun = run.tally.begun_requests
    return replay(run.plan, begun, slo=run.tally.slo, seed=run.seed).measures if len(begun.arrival_s) else None


def bench_json(run: Bench, expected: Measures | None) -> dict[str, Any]:
    """The document. What nobody can measure from here, or nothing ended that it could be of, is null."""
    tally, found = run.tally, known(run.tally.measures)
    beside = known(expected) if expected else {}
    return {
        "schema": BENCH_SCHEMA,
        "plan_id": run.plan.plan_id,
        "epoch": run.epoch,
        "endpoint": run.endpoint,
        "model": run.plan.llm.name,
        **found,
        "requests": tally.begun,
        "arrival_rate_rps": tally.rate_rps,
        "meets_target": meets_target(run),
        "rejected": run.too_long,
        "failed": tally.causes.total(),
        "failures": dict(tally.causes.most_common()),
        "under_way": tally.under_way,
        "interrupted": run.interrupted,
        "late_s": tally.late_s,
        "seed": run.seed,
        "wall_s": round(run.wall_s, 4),
        "kv_bytes": run.kv_bytes,
        "replicas": [{"id": one.id, "phase": str(one.phase), "busy_share": None} for one in run.plan.replicas],
        "predicted": asdict(run.plan.predicted) | {"rate_rps": run.plan.workload.rate_rps},
        "simulated": beside or None,
        "measured_to_simulated": {name: ratio(found.get(name), beside.get(name)) for name in COMPARED},
    }


def meets_target(run: Bench) -> bool | None:
    """Whether the share of requests that the SLO asks for met it; None where none ended."""
    found = run.tally.measures
    return found.slo_attainment >= run.tally.slo.attainment if found.requests else None


def ratio(measured: float | None, expected: float | None) -> float | None:
    """Measured ÷ expected; None where either is missing, or nothing was expected."""
    return measured / expected if measured is not None and expected else None


def known(measures: Measures) -> Mapping[str, float | None]:
    """By name. No token takes no time: a percentile of 0 says that there was nothing it could be of, and is None."""
    values = asdict(measures)
    return {name: None if value == 0 and PERCENTILE.match(name) else value for name, value in values.items()}
