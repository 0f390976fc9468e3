"""A plan as tables people can read."""

from itertools import groupby
from typing import TYPE_CHECKING

from planner.deployment import Alternative, Codec, DemandSummary, Instance, Plan, Replica
from thunderctl.cli.output import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType


def plan_tables(plan: Plan) -> "Iterator[RenderableType]":
    """What to rent, the replicas, the routes, and what to expect."""
    yield _rent(plan)
    yield _replicas(plan)
    yield routes_table(plan)
    yield _expectation(plan)


def _rent(plan: Plan) -> "RenderableType":
    def alike(instance: Instance) -> tuple[object, ...]:
        return (instance.provider, instance.region, instance.gpu, instance.gpu_count, instance.offer_id)

    rows = []
    for _, group in groupby(sorted(plan.instances, key=lambda i: (alike(i), i.id)), key=alike):
        same = list(group)
        first = same[0]
        rows.append(
            (
                ", ".join(instance.id for instance in same),
                first.provider,
                first.region or "-",
                f"{first.gpu_count} x {first.gpu}",
                "interruptible" if first.interruptible else "on-demand",
                f"{first.usd_per_hour:.3f}",
                f"{sum(instance.usd_per_hour for instance in same):.3f}",
                first.offer_id,
            )
        )
    columns = ("instances", "provider", "region", "GPUs", "kind", "$/h each", "$/h", "offer")
    return table("Rent", columns, rows, right=("$/h each", "$/h"))


def _replicas(plan: Plan) -> "RenderableType":
    rows = [
        (
            replica.id,
            replica.phase,
            f"TP{replica.tp} PP{replica.pp}",
            _place(plan, replica),
            f"{replica.capacity_rps:.2f}",
            f"{replica.kv_capacity_tokens:,}",
        )
        for replica in plan.replicas
    ]
    columns = ("replica", "phase", "parallel", "on", "requests/s", "KV tokens")
    return table("Replicas", columns, rows, right=("requests/s", "KV tokens"))


def _place(plan: Plan, replica: Replica) -> str:
    def stage_place(index: int) -> str:
        stage = replica.stages[index]
        gpus = ",".join(str(gpu) for gpu in stage.gpus)
        return f"{stage.instance} {plan.instance(stage.instance).gpu} [{gpus}]"

    return "; ".join(stage_place(index) for index in range(replica.pp))


def routes_table(plan: Plan) -> "RenderableType":
    rows = [
        (
            route.prefill,
            "itself" if route.codec is Codec.LOCAL else route.decode,
            f"{route.share:.1%}",
            route.codec,
            "-" if route.codec is Codec.LOCAL else f"{route.bandwidth_gbit_per_s:.3g}",
        )
        for route in plan.routes
    ]
    return table("Routes", ("prefill", "decode", "share", "codec", "Gbit/s"), rows, right=("share", "Gbit/s"))


def _stream(workload: DemandSummary) -> str:
    """How requests arrive and what is cached, where that isn't the usual."""
    arrivals = f", arriving with burstiness {workload.burstiness:g}" if workload.burstiness != 1 else ""
    cached = f", {workload.prefix_hit_share:.0%} of prompt tokens cached" if workload.prefix_hit_share else ""
    return arrivals + cached


def _served(other: Alternative) -> str:
    if not other.goodput_rps:
        return "serves nothing here"
    return f"{other.goodput_rps:.2f} requests/s for ${other.cost_usd_per_hour:.2f}/h"


def _expectation(plan: Plan) -> "RenderableType":
    predicted, slo = plan.predicted, plan.slo
    guess = "" if predicted.calibrated else " (uncalibrated: see the notes)"
    transfer = f", {plan.transfer_usd_per_hour:.2f} of it KV transfer" if plan.transfer_usd_per_hour else ""
    tokens = f"${predicted.usd_per_million_tokens:.2f} per million tokens"
    for_its_cost = f" for ${plan.cost_usd_per_hour:.2f}/h" if plan.goal == "cost" else ""
    rows: list[tuple[str, str]] = [
        ("model", f"{plan.llm.name} ({plan.dtype}), up to {plan.max_model_len:,} tokens"),
        (
            "workload",
            f"{plan.workload.name}: {plan.workload.prompt_tokens_mean:,.0f} prompt + "
            f"{plan.workload.output_tokens_mean:,.0f} output tokens on average, "
            f"{plan.workload.rate_rps:.2f} requests/s{_stream(plan.workload)}",
        ),
        ("cost", f"${plan.cost_usd_per_hour:.2f}/h of ${plan.budget_usd_per_hour:.2f}/h{transfer}; {tokens}"),
        ("goodput", f"{predicted.goodput_rps:.2f} requests/s at {slo.attainment:.0%} attainment, simulated{guess}"),
        ("throughput", f"{predicted.throughput_tokens_per_s:,.0f} tokens/s"),
        ("TTFT", f"p50 {predicted.ttft_p50_s:.3g} s, p99 {predicted.ttft_p99_s:.3g} s (target {slo.ttft_s:g} s)"),
        ("TPOT", f"p50 {predicted.tpot_p50_s:.3g} s, p99 {predicted.tpot_p99_s:.3g} s (target {slo.tpot_s:g} s)"),
        ("attainment", f"{predicted.slo_attainment:.1%} at {plan.workload.rate_rps:.2f} requests/s"),
        (
            "optimality",
            f"analytic score {plan.search.objective_rps:.2f} of at most {plan.bound.goodput_rps:.2f} requests/s"
            f"{for_its_cost} under the same model: gap {plan.bound.gap:.1%}, found in {plan.search.seconds:.2f} s",
        ),
        ("start-up", f"about {plan.startup_s / 60:.0f} min, ${plan.startup_usd:.2f} (estimated)"),
        ("prices", f"{plan.market_source} of {plan.market_as_of[:10]}"),
    ]
    rows += [("instead of", f"{other.name}: {_served(other)}") for other in plan.alternatives]
    rows += [("note", note) for note in plan.notes]
    from rich.table import Table

    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold")
    made.add_column()
    for name, text in rows:
        made.add_row(name, text)
    return made
