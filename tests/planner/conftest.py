"""Small, named worlds: a clock, a few offers, and a legal split plan written by hand."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from planner import plan as planning
from planner.catalog import Offer
from planner.deployment import Plan
from planner.gpus import gpu_named
from planner.market import Market, eligible, snapshot
from tests.planner.plans import split_plan

NOON = datetime(2026, 9, 1, 12, 0, tzinfo=UTC)
HANDFUL = (
    "aws-p4d.24xlarge-use1-az1",
    "aws-g6.12xlarge-eun1-az2",
    "aws-g6e.12xlarge-eun1-az1",
    "aws-g5.12xlarge-eun1-az3",
    "runpod-1xA40-community",
    "vast-1xA6000-spot",
    "vast-2xA6000-on-demand",
    "vast-4xA5000-on-demand",
    "vast-4xRTX3090-on-demand",
    "vast-4xL40S-on-demand",
    "vast-1xA100-PCIE-80GB-on-demand",
)
"""Offers of the snapshot: cards of 24 to 80 GB, one to eight on a machine, of both kinds, in networks and not."""


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


@pytest.fixture(scope="session")
def handful(default_market: Market) -> Market:
    """A market small enough to plan on in a second or two."""
    offers = tuple(offer for offer in default_market.offers if offer.offer_id in HANDFUL)
    assert len(offers) == len(HANDFUL)
    return replace(default_market, offers=offers)


@pytest.fixture(autouse=True)
def _bounds_worked_out_here(request, monkeypatch) -> None:
    """A process for the bound of a small market takes longer to start than its plan; the whole market's has its own."""
    if "default_market" not in request.node.fixturenames or "handful" in request.node.fixturenames:
        monkeypatch.setattr(planning, "pays_beside", lambda _: False)


@pytest.fixture(name="split_plan")
def _split_plan() -> Plan:
    return split_plan()
