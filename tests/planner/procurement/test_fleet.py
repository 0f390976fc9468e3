"""About how large a fleet will be, against what is then planned for it."""

from dataclasses import replace
from math import inf

import pytest

from planner.catalog import Offer
from planner.gpus import gpu_named
from planner.models import llm_named
from planner.parallel.layouts import Capacities
from planner.plan import task_of
from planner.procurement.fleet import sized
from planner.procurement.procure import procure
from planner.traces import workload_named
from planner.workload import Slo

TASK = task_of(llm_named("qwen3-8b"), workload_named("coding"), Slo(), 8192)
OFFERS = (
    Offer("small", "vast", "Earth", gpu_named("L4"), 1, 0.4, available=8),
    Offer("large", "vast", "Earth", gpu_named("H100-SXM5-80GB"), 2, 5.0, available=4),
)


@pytest.mark.parametrize("budget", [5.0, 12.0, 24.0])
def test_the_fleet_is_about_as_large_as_what_procurement_buys(budget):
    capacities, choice = sized(Capacities(TASK), OFFERS, {}, budget_usd_per_hour=budget)
    bought = procure(choice.shop, choice.prefill, choice.decode, choice.mixed, budget_usd_per_hour=budget)
    assert bought is not None
    assert bought.served_rps / 1.6 < capacities.task.demand.fleet_rps < bought.served_rps * 1.6


def test_a_given_fleet_is_as_large_as_all_that_is_given():
    capacities, _ = sized(Capacities(TASK), OFFERS, {}, budget_usd_per_hour=0.0, keep_all=True)
    half = tuple(replace(offer, available=offer.available // 2) for offer in OFFERS)
    fewer, _ = sized(Capacities(TASK), half, {}, budget_usd_per_hour=0.0, keep_all=True)
    assert capacities.task.demand.fleet_rps == pytest.approx(2 * fewer.task.demand.fleet_rps)


def test_a_budget_without_end_buys_everything():
    whole, _ = sized(Capacities(TASK), OFFERS, {}, budget_usd_per_hour=inf)
    given, _ = sized(Capacities(TASK), OFFERS, {}, budget_usd_per_hour=0.0, keep_all=True)
    assert whole.task.demand.fleet_rps == given.task.demand.fleet_rps > 0


def test_where_nothing_is_bought_arrivals_are_as_they_come():
    capacities, choice = sized(Capacities(TASK), OFFERS, {}, budget_usd_per_hour=0.1)
    assert capacities.task.demand.fleet_rps == 0
    assert choice.serves


def test_fleets_of_about_one_size_share_what_is_worked_out():
    whole = Capacities(TASK)
    assert whole.in_fleet(10.0) is whole.in_fleet(11.0)
    assert whole.in_fleet(10.0) is not whole.in_fleet(20.0)
    assert whole.in_fleet(0.0) is whole


def test_a_rate_that_is_asked_is_the_fleets():
    capacities, choice = sized(Capacities(TASK), OFFERS, {}, budget_usd_per_hour=0.0, rate_rps=16.0)
    assert (capacities.task.demand.fleet_rps, choice.serves) == (16.0, True)
