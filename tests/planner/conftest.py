"""Small, named worlds: a model that fits one card, a few offers, and a legal split plan written by hand."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from planner.catalog import Offer
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
from planner.gpus import gpu_named
from planner.market import Market, eligible, snapshot
from planner.models import llm_named
from planner.workload import Slo

NOON = datetime(2026, 9, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def noon() -> Callable[[], datetime]:
    """A clock that stands still."""
    return lambda: NOON


@pytest.fixture
def offer() -> Callable[..., Offer]:
    """An offer of one A6000 for a dollar, but for what is asked."""

    def make(name: str, gpu: str = "A6000", **wanted: object) -> Offer:
        usual = {"provider": "vast", "region": "Earth", "gpu_count": 1, "usd_per_hour": 1.0}
        return Offer(offer_id=name, gpu=gpu_named(gpu), **(usual | wanted))  # type: ignore[arg-type]

    return make


@pytest.fixture
def market_of() -> Callable[..., Market]:
    return lambda *offers: Market(tuple(offers), "2026-09-01T00:00:00Z", "file")


@pytest.fixture(scope="session")
def default_market() -> Market:
    """What `plan` sees with the default spec and no network."""
    return eligible(snapshot(), providers=("vast", "aws", "runpod", "ssh"), min_reliability=0.95)


@pytest.fixture
def split_plan() -> Plan:
    """One prefill and one decode replica of llama-3.1-8b on the two cards of i0, and a mixed one across i1 and i2."""
    llm = llm_named("llama-3.1-8b")
    card = Instance("i0", "o0", "vast", "Earth", "A6000", 2, 47.4, 2.0, network="lan")
    small = replace(card, id="i1", offer_id="o1", gpu="A5000", gpu_count=1, gpu_memory_gib=23.6, usd_per_hour=0.5)
    return Plan(
        plan_id="abc",
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
