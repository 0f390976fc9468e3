"""The plan of a large fleet: one replica of qwen3-8b on each machine, of four types in equal numbers."""

from dataclasses import replace

from benchmarks.fluid.load import mixture
from benchmarks.fluid.prices import NAMES, Prices
from planner.advice.startup import slowest_startup
from planner.deployment import Bound, DemandSummary, Instance, Phase, Plan, Predicted, Replica, SearchReport, Stage
from planner.document import plan_id
from planner.gpus import gpu_named
from planner.models import llm_named
from planner.quick_rebalance import quick_rebalance
from planner.validate import validate
from planner.workload import Slo

GPUS = tuple(NAMES.values())
SLO = Slo(ttft_s=2.0, tpot_s=0.06)
GBIT_PER_S = 10.0
MAX_MODEL_LEN = 8192


def machine(number: int, gpu: str, usd_per_hour: float) -> Instance:
    kind = gpu_named(gpu)
    return Instance(
        id=f"i{number}",
        offer_id=f"{gpu}-{number}",
        provider="vast",
        region="Earth",
        gpu=kind.name,
        gpu_count=1,
        gpu_memory_gib=kind.memory_gib,
        usd_per_hour=usd_per_hour,
        interruptible=True,
        inet_up_gbit_per_s=GBIT_PER_S,
        inet_down_gbit_per_s=GBIT_PER_S,
    )


def large_plan(replicas: int, prices: Prices, *, coding_share: float, rate_rps: float, budget: float) -> Plan:
    """Phases and routes by the search of a rebalance, at the prices of the beginning. Validated."""
    llm = llm_named("qwen3-8b")
    kinds = [GPUS[number % len(GPUS)] for number in range(replicas)]
    instances = tuple(machine(i, gpu, prices.at(gpu, 0.0)) for i, gpu in enumerate(kinds))
    demand = mixture(coding_share, rate_rps)
    cost = sum(one.usd_per_hour for one in instances)
    bare = Plan(
        plan_id="",
        created_at="2026-08-20T00:00:00Z",
        market_as_of="2026-08-20T13:35:47Z",
        market_source="file",
        goal="goodput",
        budget_usd_per_hour=max(budget, cost),
        cost_usd_per_hour=cost,
        llm=llm,
        max_model_len=MAX_MODEL_LEN,
        dtype=llm.dtype,
        workload=DemandSummary(demand.name, rate_rps, demand.prompt_tokens_mean, demand.output_tokens_mean),
        slo=SLO,
        instances=instances,
        replicas=tuple(_replica(i, llm.layers, one.id) for i, one in enumerate(instances)),
        routes=(),
        predicted=Predicted(rate_rps, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, calibrated=False),
        bound=Bound(0.0, 0.0),
        search=SearchReport(0.0, 0.0, 0, 0),
        startup_s=slowest_startup(llm, instances).seconds,
    )
    found = quick_rebalance(bare, demand)
    assert found is not None
    named = replace(found, plan_id=plan_id(found))
    validate(named)
    return named


def rated(plan: Plan, rate_rps: float) -> Plan:
    """The plan with what it serves within the targets, and is made for."""
    known = replace(
        plan,
        workload=replace(plan.workload, rate_rps=rate_rps),
        predicted=replace(plan.predicted, goodput_rps=rate_rps),
        plan_id="",
    )
    return replace(known, plan_id=plan_id(known))


def _replica(number: int, layers: int, instance: str) -> Replica:
    phase = Phase.PREFILL if number % 2 else Phase.DECODE
    return Replica(f"r{number}", phase, (Stage(instance, (0,), layers),))
