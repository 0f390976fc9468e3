"""A legal plan written by hand."""

from dataclasses import replace

from planner.deployment import (
    Alternative,
    Bound,
    Codec,
    DemandSummary,
    Instance,
    Phase,
    Plan,
    Predicted,
    Replica,
    Route,
    SearchReport,
    Stage,
)
from planner.models import llm_named
from planner.workload import Slo


def split_plan() -> Plan:
    """One prefill and one decode replica of llama-3.1-8b on the two cards of i0, and a mixed one across i1 and i2."""
    llm = llm_named("llama-3.1-8b")
    card = Instance("i0", "o0", "vast", "Earth", "A6000", 2, 47.4, 2.0, network="lan")
    small = replace(card, id="i1", offer_id="o1", gpu="A5000", gpu_count=1, gpu_memory_gib=23.6, usd_per_hour=0.5)
    return Plan(
        plan_id="abc123",
        created_at="2026-09-01T12:00:00Z",
        market_as_of="2026-09-01T00:00:00Z",
        market_source="file",
        goal="goodput",
        budget_usd_per_hour=5.0,
        cost_usd_per_hour=3.25,
        transfer_usd_per_hour=0.25,
        llm=llm,
        max_model_len=8192,
        dtype=llm.dtype,
        workload=DemandSummary("conversation", 3.0, 1150.0, 211.0),
        slo=Slo(),
        instances=(card, small, replace(small, id="i2", offer_id="o2")),
        replicas=(
            Replica("r0", Phase.PREFILL, (Stage("i0", (0,), 32),), 4.0, 150_000),
            Replica("r1", Phase.DECODE, (Stage("i0", (1,), 32),), 7.0, 150_000),
            Replica("r2", Phase.MIXED, (Stage("i1", (0,), 16), Stage("i2", (0,), 16)), 1.0, 90_000),
        ),
        routes=(Route("r0", "r1", 0.75, Codec.RAW, 64.0), Route("r2", "r2", 0.25, Codec.LOCAL)),
        predicted=Predicted(3.0, 0.93, 630.0, 0.5, 1.9, 0.05, 0.1, 1.4, 0.0, calibrated=False),
        bound=Bound(3.3, 0.09),
        search=SearchReport(3.0, 0.5, 2, 0),
        alternatives=(Alternative("colocated on the same instances", 2.5, 3.0),),
        startup_s=600.0,
        startup_usd=0.5,
        notes=("Simulated.",),
    )
