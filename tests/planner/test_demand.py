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
    assert (thin.prompt_mean, thin.output_mean, thin.held) == pytest.approx(
        (demand.prompt_mean, demand.output_mean, demand.held), rel=0.02
    )


def test_the_batch_is_weighted_by_how_long_requests_stay():
    demand = Demand(np.array([100.0, 100.0]), np.array([1.0, 99.0]))
    assert demand.held == pytest.approx(0.01 * 101 + 0.99 * 199)
    assert Demand(demand.prompt, np.array([50.0, 50.0])).held == 150.0


def test_what_is_cached_is_held_but_not_computed():
    demand = Demand(np.array([100.0, 7.0, 1.0]), np.array([1.0, 1.0, 1.0]), cached_share=0.5)
    assert demand.cached.tolist() == [50.0, 3.0, 0.0]
    assert demand.computed.tolist() == [50.0, 4.0, 1.0]
    assert demand.pairs.tolist() == [7500.0, 40.0, 1.0]
    assert demand.held == Demand(demand.prompt, demand.output).held


def test_without_hits_every_token_and_every_pair_is_computed():
    demand = Demand(np.array([100.0, 7.0]), np.array([1.0, 1.0]))
    assert demand.computed.tolist() == [100.0, 7.0]
    assert demand.pairs.tolist() == [10_000.0, 49.0]
