"""Small markets for LLaMA-30B, which wants two cards of 48 GB or four of 24 GB."""

from collections.abc import Callable

import pytest

from planner.baselines.setting import Setting
from planner.catalog import Offer
from planner.models import llm_named
from planner.parallel.layouts import Capacities
from planner.plan import task_of
from planner.search.candidate import Candidate
from planner.search.choosing import Finding
from planner.search.drafting import Occasion, drafted
from planner.traces import workload_named
from planner.workload import Slo
from tests.planner.conftest import NOON

BUDGET_USD_PER_HOUR = 10.0
FAST = {"inet_up_gbit_per_s": 40.0, "inet_down_gbit_per_s": 40.0, "network": "lan"}


@pytest.fixture(scope="session")
def capacities() -> Capacities:
    return Capacities(task_of(llm_named("llama-30b"), workload_named("conversation"), Slo(4.0, 0.1), 8192))


@pytest.fixture
def setting(capacities: Capacities) -> Callable[..., Setting]:
    """Offers and a budget as a baseline is given them."""

    def make(*offers: Offer, budget: float = BUDGET_USD_PER_HOUR, fixed: bool = False) -> Setting:
        return Setting(capacities, offers, budget, fixed=fixed)

    return make


@pytest.fixture
def checked(capacities: Capacities) -> Callable[[Setting, Candidate], None]:
    """Raises unless the candidate, written out as a plan, keeps every rule of the schema and the budget."""

    def check(setting: Setting, one: Candidate) -> None:
        budget = sum(offer.usd_per_hour * offer.available for offer in setting.offers) if setting.fixed else 0.0
        occasion = Occasion(
            created_at=NOON,
            market_as_of="2026-09-01T00:00:00Z",
            market_source="file",
            goal="goodput",
            budget_usd_per_hour=max(budget, setting.budget_usd_per_hour),
            seconds=0.0,
            evaluations=1,
            seed=0,
        )
        drafted(capacities.task, workload_named("conversation"), Finding(one, 0.1, 0.0), occasion)

    return check
