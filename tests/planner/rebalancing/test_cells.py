"""A fleet too large to be searched as one, in cells."""

from collections import Counter
from dataclasses import replace

import pytest

from planner.members import members_of
from planner.part_rates import PartRates, abilities_of
from planner.quick_rebalance import quick_rebalance
from planner.rebalancing.cells import MOST_WHOLE, dealt, is_large
from planner.traces import workload_named
from planner.validate import validate
from planner.workload import Slo
from tests.planner.search.fleets import plan_of

GPUS = ("A6000", "L40S", "RTX6000Ada")
WORKLOAD = workload_named("conversation").at(30.0)


def fleet(cards: int, phases: tuple[int, ...] = ()):
    plan = plan_of([(GPUS[i % len(GPUS)], (1,)) for i in range(cards)], phases, gbit_per_s=5.0)
    return replace(plan, slo=Slo(ttft_s=2.0, tpot_s=0.06))


@pytest.fixture(scope="module")
def large():
    return quick_rebalance(fleet(50), WORKLOAD)


def test_every_replica_is_dealt_to_one_cell_and_cells_have_as_many_of_each_phase():
    members = members_of(fleet(50, tuple(i % 5 == 0 for i in range(50))), {})
    cut = dealt(members)
    assert sorted(i for cell in cut.cells for i in cell) == list(range(50))
    prefilling = [sum(not members[i].phase.decodes for i in cell) for cell in cut.cells]
    assert max(prefilling) - min(prefilling) <= 1


def test_cells_are_of_a_few_kinds_however_many_there_are():
    cut = dealt(members_of(fleet(300), {}), phases_are_free=True)
    assert len(cut.cells) == 25
    assert len(set(cut.kinds)) <= 2 * len(GPUS)


def test_with_one_prefill_replica_among_many_no_cell_is_larger_than_what_is_searched_as_one():
    cut = dealt(members_of(fleet(100), {}))
    assert max(len(cell) for cell in cut.cells) <= MOST_WHOLE


def test_the_routes_of_a_large_fleet_are_legal_and_stay_within_cells(large):
    validate(
        replace(large, goal="goodput", budget_usd_per_hour=99.0, cost_usd_per_hour=50.0, transfer_usd_per_hour=0.0)
    )
    assert sum(route.share for route in large.routes) == pytest.approx(1.0)
    phases = {one.id: one.phase for one in large.replicas}
    assert all(phases[one.prefill].prefills and phases[one.decode].decodes for one in large.routes)
    assert max(Counter(one.prefill for one in large.routes).values()) <= MOST_WHOLE


def test_cells_serve_nearly_what_the_fleet_could_as_one(large):
    whole = PartRates(abilities_of(large, WORKLOAD))
    assert is_large(large.replicas)
    rps = {one.id: one.capacity_rps for one in large.replicas}
    busiest = Counter()
    for route in large.routes:
        for end in {route.prefill, route.decode}:
            busiest[end] += route.share / rps[end]
    assert 1 / max(busiest.values()) >= 0.85 * whole(frozenset(one.id for one in large.instances))


def test_what_suits_the_workload_already_is_left_almost_as_it_is(large):
    again = quick_rebalance(large, WORKLOAD)
    flips = sum(a.phase is not b.phase for a, b in zip(large.replicas, again.replicas, strict=True))
    assert flips <= 0.1 * len(large.replicas)
