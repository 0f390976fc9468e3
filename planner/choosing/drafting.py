"""A finding written out as a `Plan`: what it costs, what simulation expects of it, and what the reader should know."""

from dataclasses import dataclass, replace
from datetime import datetime

from planner.advice.notes import gpus_of, notes
from planner.advice.startup import slowest_startup
from planner.catalog import GpuCalibration
from planner.choosing.candidate import simulated
from planner.choosing.contest import Finding
from planner.costmodel.coverage import unmeasured
from planner.deployment import Bound, DemandSummary, Plan, Predicted, SearchReport
from planner.document import plan_id
from planner.evaluate import Measures
from planner.llm import LlmSpec
from planner.parallel.layouts import Task
from planner.router import router_notes
from planner.validate import validate
from planner.workload import Workload


@dataclass(frozen=True, slots=True)
class Occasion:
    """When, from which market, and to which end a plan was made. `remarks` are notes of whoever knows the offers."""

    created_at: datetime
    market_as_of: str
    market_source: str
    goal: str
    budget_usd_per_hour: float
    seconds: float
    evaluations: int
    seed: int
    remarks: tuple[str, ...] = ()


def drafted(task: Task, workload: Workload, finding: Finding, occasion: Occasion) -> Plan:
    """The finding as a plan, checked against every rule of the schema."""
    chosen, pairing = finding.chosen, finding.chosen.pairing
    rate = workload.rate_rps or finding.goodput_rps
    known = finding.measures if rate == finding.goodput_rps else None
    measures = known or simulated(task, chosen, rate, seed=occasion.seed)
    carried = min(rate, chosen.most_rps(occasion.budget_usd_per_hour))
    transfer = carried * pairing.transfer_usd_per_hour_per_rps
    seconds = slowest_startup(task.llm, chosen.instances).seconds
    bound = max(finding.bound_rps, pairing.served_rps)
    plan = Plan(
        plan_id="",
        created_at=occasion.created_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        market_as_of=occasion.market_as_of,
        market_source=occasion.market_source,
        goal=occasion.goal,
        budget_usd_per_hour=occasion.budget_usd_per_hour,
        cost_usd_per_hour=chosen.usd_per_hour + transfer,
        llm=task.llm,
        max_model_len=task.max_model_len,
        dtype=task.llm.dtype,
        workload=_summary(task, workload, rate),
        slo=task.slo,
        instances=chosen.instances,
        replicas=pairing.replicas,
        routes=pairing.routes,
        predicted=_predicted(task.llm, finding, measures, carried, chosen.usd_per_hour + transfer),
        bound=Bound(bound, 1 - pairing.served_rps / bound),
        search=SearchReport(pairing.served_rps, occasion.seconds, occasion.evaluations, occasion.seed),
        alternatives=finding.alternatives,
        transfer_usd_per_hour=transfer,
        startup_s=seconds,
        startup_usd=seconds / 3600 * chosen.usd_per_hour,
        calibrations=tuple(filter(None, map(GpuCalibration.of, gpus_of(chosen)))),
        notes=(*_notes(task, workload, finding, occasion), *occasion.remarks, *router_notes(chosen.instances)),
    )
    named = replace(plan, plan_id=plan_id(plan))
    validate(named)
    return named


def _summary(task: Task, workload: Workload, rate: float) -> DemandSummary:
    means = task.demand.prompt_mean, task.demand.output_mean
    return DemandSummary(workload.name, rate, *means, workload.burstiness, workload.prefix_hit_share)


def _predicted(llm: LlmSpec, finding: Finding, measures: Measures, rate: float, usd_per_hour: float) -> Predicted:
    tokens_per_hour = measures.throughput_tokens_per_s * 3600
    return Predicted(
        goodput_rps=finding.goodput_rps,
        slo_attainment=measures.slo_attainment,
        throughput_tokens_per_s=measures.throughput_tokens_per_s,
        ttft_p50_s=measures.ttft_p50_s,
        ttft_p99_s=measures.ttft_p99_s,
        tpot_p50_s=measures.tpot_p50_s,
        tpot_p99_s=measures.tpot_p99_s,
        usd_per_million_tokens=usd_per_hour / tokens_per_hour * 1e6 if tokens_per_hour else 0.0,
        kv_gb_per_hour=finding.chosen.pairing.kv_gb_per_request * rate * 3600,
        calibrated=not unmeasured(llm, gpus_of(finding.chosen)),
    )


def _notes(task: Task, workload: Workload, finding: Finding, occasion: Occasion) -> tuple[str, ...]:
    return notes(
        task,
        workload,
        finding.chosen,
        goodput_rps=finding.goodput_rps,
        market_as_of=occasion.market_as_of,
        market_source=occasion.market_source,
        now=occasion.created_at,
    )
