from dataclasses import replace

import numpy as np
import pytest

from planner.demand import Demand, clipped_share, demand_of, longest_request
from planner.models import llm_named
from planner.traces import workload_named
from planner.workload import Workload


def test_long_requests_are_cut_to_what_the_model_admits():
    workload = Workload("w", ((10, 10), (9000, 10), (100, 9000)))
    demand = demand_of(workload, 4096)
    assert (demand.prompt + demand.output).max() == 4096
    assert clipped_share(workload, 4096) == pytest.approx(2 / 3)
    assert longest_request(llm_named("llama-30b"), 8192) == 2048


def test_a_thinner_demand_keeps_its_moments_and_how_it_comes():
    demand = demand_of(Workload("w", workload_named("conversation").lengths, None, 0.5, 0.25), 8192)
    thin = demand.thinned()
    assert len(thin.prompt) < len(demand.prompt)
    assert (thin.burstiness, thin.cached_share) == (0.5, 0.25)
    assert (thin.prompt_mean, thin.output_mean, thin.context, thin.context_square) == pytest.approx(
        (demand.prompt_mean, demand.output_mean, demand.context, demand.context_square), rel=0.04
    )


def test_the_batch_is_weighted_by_how_long_requests_stay():
    demand = Demand(np.array([100.0, 100.0]), np.array([1.0, 99.0]))
    assert demand.context == pytest.approx(0.01 * 100.5 + 0.99 * 149.5)
    assert Demand(demand.prompt, np.array([50.0, 50.0])).context == 125.0


def test_the_spread_of_what_is_held_is_that_of_requests_met_at_a_random_token():
    demand = Demand(np.array([100.0, 400.0]), np.array([300.0, 60.0]))
    tokens = np.concatenate([p + np.arange(0.5, o) for p, o in zip(demand.prompt, demand.output, strict=True)])
    assert demand.context == pytest.approx(tokens.mean())
    assert demand.context_square == pytest.approx((tokens**2).mean(), rel=1e-4)


def test_the_smaller_its_part_of_a_fleet_the_more_evenly_a_replica_is_asked():
    rates = np.array([0.5, 2.0, 8.0, 20.0])
    one = Demand(np.array([100.0]), np.array([50.0]), burstiness=0.5)
    assert one.variation_at(rates).tolist() == [2.0, 2.0, 2.0, 2.0]
    assert replace(one, fleet_rps=8.0).variation_at(rates).tolist() == [0.125, 0.5, 2.0, 2.0]
    assert replace(one, fleet_rps=np.inf).variation_at(rates).tolist() == [0.0, 0.0, 0.0, 0.0]
    assert (one.least_variation, replace(one, fleet_rps=8.0).least_variation) == (2.0, 0.0)


def test_what_is_cached_is_held_but_not_computed():
    demand = Demand(np.array([100.0, 7.0, 1.0]), np.array([1.0, 1.0, 1.0]), cached_share=0.5)
    assert demand.cached.tolist() == [50.0, 3.0, 0.0]
    assert demand.computed.tolist() == [50.0, 4.0, 1.0]
    assert demand.pairs.tolist() == [7500.0, 40.0, 1.0]
    assert demand.context == Demand(demand.prompt, demand.output).context


def test_without_hits_every_token_and_every_pair_is_computed():
    demand = Demand(np.array([100.0, 7.0]), np.array([1.0, 1.0]))
    assert demand.computed.tolist() == [100.0, 7.0]
    assert demand.pairs.tolist() == [10_000.0, 49.0]
