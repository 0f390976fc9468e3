"""The bound, against everything that can be tried."""

from dataclasses import replace

import pytest

from benchmarks.random_markets import RandomMarket, random_market
from planner.catalog import Offer
from planner.demand import demand_of
from planner.gpus import gpu_named
from planner.models import llm_named
from planner.parallel.layouts import Capacities, Task
from planner.proof import spanning
from planner.proof.bound import Bounded, bounded
from planner.search.exhaustive import best_of_all
from planner.search.score import Aim, Scorer
from planner.search.supply import Supply
from planner.traces import workload_named
from planner.workload import Slo


def capacities_for(market: RandomMarket, fleet_rps: float = 0.0) -> Capacities:
    llm = llm_named(market.model)
    longest = min(8192, llm.max_positions)
    task = Task(llm, demand_of(workload_named(market.workload), longest), Slo(*market.slo, 0.9), longest)
    return Capacities(task).in_fleet(fleet_rps)


def bound_of(market: RandomMarket, fleet_rps: float = 0.0) -> Bounded:
    task = capacities_for(market, fleet_rps).task
    return bounded(task, None, market.offers, {}, market.budget_usd_per_hour, rent_all=market.rent_all)


def best_rps(market: RandomMarket, fleet_rps: float = 0.0) -> float:
    capacities = capacities_for(market, fleet_rps)
    supply = Supply(market.offers, capacities.task.llm, links={}, rent_all=market.rent_all)
    best = best_of_all(Scorer(capacities, supply, Aim(market.budget_usd_per_hour)))
    return best.score.rps if best else 0.0


@pytest.mark.parametrize("seed", [1, 2, 4, 5, 6, 9, 12, 16, 19, 24, 29, 38, 40, 45])
def test_nothing_that_can_be_tried_is_above_it(seed):
    market = random_market(seed)
    assert best_rps(market) <= bound_of(market).rps * (1 + 1e-6)


@pytest.mark.parametrize(("seed", "fleet_rps"), [(1, 8.0), (5, 30.0), (10, 4.0), (16, 100.0), (29, 16.0), (45, 2.0)])
def test_nor_where_replicas_are_of_a_larger_fleet(seed, fleet_rps):
    market = random_market(seed)
    assert best_rps(market, fleet_rps) <= bound_of(market, fleet_rps).rps * (1 + 1e-6)


@pytest.mark.parametrize("seed", [1, 4, 5, 9, 12, 17])
def test_it_is_close_to_the_best_where_wires_do_not_bind(seed):
    market = random_market(seed)
    assert best_rps(market) >= bound_of(market).rps * 0.97


@pytest.mark.parametrize("seed", [2, 9, 16, 38])
def test_it_holds_where_shapes_are_too_many_to_be_rated(seed, monkeypatch):
    market = random_market(seed)
    close = bound_of(market).rps
    monkeypatch.setattr(spanning, "MOST_SHAPES", 0)
    assert bound_of(market).rps >= max(best_rps(market), close) * (1 - 5e-3)  # how near the solver comes


def test_it_begins_with_groups_that_span_where_no_instance_holds_the_model():
    def machine(name: str) -> Offer:
        return Offer(name, "ssh", "attic", gpu_named("RTX3090Ti"), 2, 0.5, network="lan", inet_up_gbit_per_s=10.0)

    llm = llm_named("qwen3-32b")
    task = Task(llm, demand_of(workload_named("conversation"), 4096), Slo(8.0, 0.2, 0.9), 4096)
    found = bounded(task, None, [machine(f"m{i}") for i in range(4)], {}, 10.0, rent_all=True)
    assert found.rps > 0
    assert found.begun is not None
    assert {len(group.cuts) for group in found.begun.groups} <= {2, 3, 4}


@pytest.mark.parametrize("seed", [2, 9, 16, 24])
def test_it_holds_where_no_time_is_left_for_whole_groups(seed, monkeypatch):
    market = random_market(seed)
    monkeypatch.setattr("planner.proof.bound.MOST_S", 0.0)
    assert best_rps(market) <= bound_of(market).rps * (1 + 1e-6)


def test_nothing_is_bounded_by_nothing():
    market = random_market(3)
    assert bound_of(market).rps == 0


@pytest.mark.parametrize(("seed", "gbit_per_s"), [(5, 3.0), (10, 0.5), (19, 1.0), (24, 0.2), (45, 0.5)])
def test_it_holds_where_some_layers_stay_on_an_instance_and_others_take_narrow_wires(seed, gbit_per_s):
    market = random_market(seed)
    wires = {"network": "lan", "inet_up_gbit_per_s": gbit_per_s, "inet_down_gbit_per_s": gbit_per_s}
    market = replace(market, offers=tuple(replace(offer, **wires) for offer in market.offers))
    assert best_rps(market) <= bound_of(market).rps * (1 + 1e-6)
