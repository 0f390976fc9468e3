"""What a finding becomes when it is written out."""

from dataclasses import replace

import pytest

from planner.choosing.buying import bought
from planner.choosing.contest import Finding
from planner.choosing.drafting import Occasion, drafted
from planner.choosing.search import Search
from planner.demand import demand_of
from planner.models import llm_named
from planner.parallel.layouts import Capacities, Task
from planner.procurement.shop import choice_of
from planner.traces import workload_named
from planner.workload import Slo
from tests.planner.conftest import NOON

WORKLOAD = workload_named("conversation")
TASK = Task(llm_named("llama-3.1-8b"), demand_of(WORKLOAD, 4096), Slo(), 4096)
OCCASION = Occasion(NOON, "2026-09-01T00:00:00Z", "file", "goodput", 2.0, 0.0, 1, 0)
RATE_RPS = 0.5


@pytest.fixture
def finding(offer) -> Finding:
    """One A40, confirmed at a rate that it easily serves."""
    search = Search(Capacities(TASK), OCCASION.budget_usd_per_hour)
    choice = choice_of(search.capacities, [offer("a", gpu="A40")], links={})
    one = search.formed(choice, bought(search, choice))
    return Finding(one, RATE_RPS, 0.0, measures=search.trial(one).sustained(RATE_RPS).measures)


def test_what_confirmed_the_goodput_is_not_simulated_again(finding, monkeypatch):
    monkeypatch.setattr("planner.choosing.drafting.simulated", None)
    predicted = drafted(TASK, WORKLOAD, finding, OCCASION).predicted
    assert predicted.slo_attainment == finding.measures.slo_attainment > 0.9
    assert predicted.ttft_p99_s == finding.measures.ttft_p99_s


def test_another_rate_is_simulated_and_so_is_what_nothing_confirmed(finding):
    asked = drafted(TASK, replace(WORKLOAD, rate_rps=0.3), finding, OCCASION).predicted
    assert asked.throughput_tokens_per_s == pytest.approx(finding.measures.throughput_tokens_per_s * 0.6, rel=0.1)
    anew = drafted(TASK, WORKLOAD, replace(finding, measures=None), OCCASION).predicted
    assert anew == drafted(TASK, WORKLOAD, finding, OCCASION).predicted
