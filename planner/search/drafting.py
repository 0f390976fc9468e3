"""A finding written out as a `Plan`: what it costs, what simulation expects of it, and what the reader should know."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256

from planner.catalog import GpuCalibration, GpuType
from planner.costmodel.coverage import unmeasured
from planner.demand import clipped_share
from planner.deployment import Bound, DemandSummary, Instance, Plan, Predicted, SearchReport
from planner.document import plan_to_json
from planner.evaluate import Measures
from planner.gpus import gpu_named
from planner.llm import LlmSpec
from planner.parallel.layouts import Task
from planner.search.candidate import Candidate, simulated
from planner.search.choosing import Finding
from planner.validate import validate
from planner.workload import Workload

BOOT_S, LOAD_GB_PER_S, ENGINE_START_S = 180.0, 1.0, 90.0
"""An instance until it answers, weights from disk to GPU, and an engine's own start: estimates until measured."""
DOWNLOAD_EFFICIENCY = 0.7


@dataclass(frozen=True, slots=True)
class Occasion:
    """When, from which market, and to which end a plan was made."""

    created_at: datetime
    market_as_of: str
    market_source: str
    goal: str
    budget_usd_per_hour: float
    seconds: float
    evaluations: int
    seed: int


def drafted(task: Task, workload: Workload, finding: Finding, occasion: Occasion) -> Plan:
    """The finding as a plan, checked against every rule of the schema."""
    chosen, pairing = finding.chosen, finding.chosen.pairing
    rate = workload.rate_rps or finding.goodput_rps
    measures = simulated(task, chosen, rate, seed=occasion.seed)
    carried = min(rate, chosen.most_rps(occasion.budget_usd_per_hour))
    transfer = carried * pairing.transfer_usd_per_hour_per_rps
    startup = startup_s(task.llm, chosen.instances)
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
        startup_s=startup,
        startup_usd=startup / 3600 * chosen.usd_per_hour,
        calibrations=tuple(filter(None, map(GpuCalibration.of, _gpus(chosen)))),
        notes=tuple(_notes(task, workload, finding, occasion)),
    )
    named = replace(plan, plan_id=plan_id(plan))
    validate(named)
    return named


def plan_id(plan: Plan) -> str:
    """Twelve hex digits of the plan's content, when it was made included."""
    content = plan_to_json(replace(plan, plan_id="", search=replace(plan.search, seconds=0.0)))
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def startup_s(llm: LlmSpec, instances: Sequence[Instance]) -> float:
    """Until the slowest instance serves: boot, download, load, engine start."""
    gigabytes = llm.weight_bytes / 1e9
    slowest = min(instance.inet_down_gbit_per_s for instance in instances)
    return BOOT_S + gigabytes * 8 / (slowest * DOWNLOAD_EFFICIENCY) + gigabytes / LOAD_GB_PER_S + ENGINE_START_S


def _summary(task: Task, workload: Workload, rate: float) -> DemandSummary:
    means = task.demand.prompt_mean, task.demand.output_mean
    return DemandSummary(workload.name, rate, *means, workload.burstiness, workload.prefix_hit_share)


def _gpus(chosen: Candidate) -> list[GpuType]:
    """The GPU types of the instances, each once, by name; as they were measured where they were."""
    known = {instance.gpu: gpu_named(instance.gpu) for instance in chosen.instances}
    known |= {member.instance.gpu: member.layout.kind.gpu for member in chosen.members}
    return [known[name] for name in sorted(known)]


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
        calibrated=not unmeasured(llm, _gpus(finding.chosen)),
    )


def _notes(task: Task, workload: Workload, finding: Finding, occasion: Occasion) -> list[str]:
    """What was assumed, estimated or cut, each in a sentence."""
    notes = ["Latencies, attainment and goodput are simulated, not measured."]
    if not task.llm.kv_movable:
        notes.append(
            f"{task.llm.name} attends within windows of {task.llm.window} tokens: its KV cannot be moved between "
            "replicas yet, so each of them both prefills and decodes."
        )
    instances = finding.chosen.instances
    clipped = clipped_share(workload, task.max_model_len)
    if clipped:
        notes.append(f"{clipped:.1%} of the requests are longer than {task.max_model_len} tokens and were cut to that.")
    notes += [f"Not calibrated: {reason}." for reason in unmeasured(task.llm, _gpus(finding.chosen))]
    if any(hop and hop.link.estimated for hop in finding.chosen.pairing.hops):
        notes.append("Links between instances are estimated from their offers.")
    if occasion.market_source == "snapshot":
        notes.append(f"Prices are of the snapshot in the package, as of {occasion.market_as_of[:10]}.")
    bought = sorted({instance.provider for instance in instances if not instance.leasable})
    if bought:
        notes.append(f"thunderctl cannot rent from {', '.join(bought)}: this plan is for reading only.")
    if workload.rate_rps and workload.rate_rps > finding.goodput_rps:
        notes.append(
            f"The asked {workload.rate_rps:g} requests/s are more than the {finding.goodput_rps:.1f} it serves."
        )
    return [*notes, "Start-up time is an estimate."]
