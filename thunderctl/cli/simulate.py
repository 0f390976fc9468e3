"""`thunderctl simulate`: replay requests against a plan, in simulated time."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.errors import SpecError
from thunderctl.cli import output
from thunderctl.cli.options import JsonOption

MOST_REQUESTS = 1_000_000

if TYPE_CHECKING:
    from planner.deployment import Plan
    from planner.replay import Replay
    from planner.simulate import Requests


def simulate(
    plan: Annotated[Path, typer.Argument(help="The plan's file.")],
    workload: Annotated[str | None, typer.Option(help="coding, conversation, or a trace's CSV; lengths only.")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests/s; the plan's own unless given.")] = None,
    duration: Annotated[float, typer.Option(help="Seconds of arrivals.", min=1)] = 120.0,
    trace: Annotated[Path | None, typer.Option(help="Replay this trace as it is, arrivals too.")] = None,
    seed: Annotated[int, typer.Option(help="Of arrivals and routes.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Play requests against a plan and report what clients would see. Nothing runs; every figure is simulated.

    Example: thunderctl simulate plan.json --rate 4
    """
    from planner.replay import replay
    from thunderctl.compose import read_plan

    chosen = read_plan(plan)
    requests = _requests(chosen, workload, rate, duration, trace, seed)
    started = time.monotonic()
    found = replay(chosen, requests, seed=seed)
    wall_s = time.monotonic() - started
    if as_json:
        output.print_json(_document(chosen, found, wall_s))
        return
    measures = found.measures
    rows = [
        ("requests", f"{measures.requests} in {measures.duration_s:.0f} s, {found.rejected} rejected as too long"),
        ("attainment", f"{measures.slo_attainment:.1%} (target {chosen.slo.attainment:.0%})"),
        ("goodput", f"{measures.goodput_rps:.2f} requests/s"),
        ("throughput", f"{measures.throughput_tokens_per_s:,.0f} tokens/s"),
        ("TTFT", f"p50 {measures.ttft_p50_s:.3g} s, p90 {measures.ttft_p90_s:.3g} s, p99 {measures.ttft_p99_s:.3g} s"),
        ("TPOT", f"p50 {measures.tpot_p50_s:.3g} s, p90 {measures.tpot_p90_s:.3g} s, p99 {measures.tpot_p99_s:.3g} s"),
        ("KV moved", f"{found.kv_bytes / 1e9:.3g} GB"),
        ("busy", ", ".join(f"{name} {share:.0%}" for name, share in found.busy_share.items())),
    ]
    output.show(output.table(f"Simulated in {wall_s:.2f} s", ("", ""), rows))


def _requests(
    plan: "Plan", workload: str | None, rate: float | None, duration: float, trace: Path | None, seed: int
) -> "Requests":
    from planner.demand import demand_of
    from planner.evaluate import poisson_requests
    from planner.replay import requests_of
    from planner.traces import trace_from_csv
    from thunderctl.cli.plan import with_flags
    from thunderctl.compose import read_text, read_workload
    from thunderctl.spec import Spec

    if trace is not None:
        return requests_of(trace_from_csv(read_text(trace), str(trace)))
    if workload is None and plan.workload.name not in ("coding", "conversation"):
        raise SpecError(
            f"The plan was made for {plan.workload.name}, whose lengths it does not hold.",
            hint="Name the workload: --workload coding, conversation or the trace's CSV.",
        )
    rps = rate or plan.workload.rate_rps
    if not rps * duration <= MOST_REQUESTS:
        raise SpecError(f"{rps:g} requests/s for {duration:g} s are too many; expected {MOST_REQUESTS:,} or fewer.")
    lengths = read_workload(with_flags(Spec(), workload=workload or plan.workload.name, rate=rate))
    return poisson_requests(demand_of(lengths, plan.max_model_len), rps, duration, seed=seed)


def _document(plan: "Plan", found: "Replay", wall_s: float) -> dict[str, Any]:
    phases = {replica.id: replica.phase for replica in plan.replicas}
    return {
        "schema": "thunder.simulation/v1",
        **asdict(found.measures),
        "rejected": found.rejected,
        "wall_s": round(wall_s, 4),
        "kv_bytes": found.kv_bytes,
        "replicas": [
            {"id": name, "phase": phases[name], "busy_share": round(share, 4)}
            for name, share in found.busy_share.items()
        ],
    }
