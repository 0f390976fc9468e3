"""Small, named worlds: a clock, a few offers, and a legal split plan written by hand."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from planner.catalog import Offer
from planner.deployment import Plan
from planner.gpus import gpu_named
from planner.market import Market, eligible, snapshot
from tests.planner.plans import split_plan

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


@pytest.fixture(name="split_plan")
def _split_plan() -> Plan:
    return split_plan()
