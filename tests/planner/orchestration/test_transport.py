from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.orchestration.flow import Transport
from planner.orchestration.transport import balanced_flow, most_flow


def transport(prefill_rps, decode_rps, local_rps=None, **limits) -> Transport:
    """Prefill replicas that do not care where their KV goes, on free and endless wires."""
    shape = (len(prefill_rps), len(decode_rps))
    with np.errstate(divide="ignore"):
        usual = Transport(
            prefill_use=np.repeat(1 / np.array(prefill_rps, float)[:, None], shape[1], axis=1),
            decode_use=1 / np.array(decode_rps, float),
            local_use=1 / np.array(local_rps if local_rps else [0.0] * shape[1], float),
            hop_s=np.zeros(shape),
            wire_gbit=np.zeros((0, *shape)),
            wire_gbit_per_s=np.zeros(0),
            usd_per_hour=np.zeros(shape),
            budget_usd_per_hour=0.0,
        )
    return replace(usual, **limits)


def test_the_scarcer_phase_decides():
    assert most_flow(transport([3.0, 2.0], [4.0, 4.0])).served_rps == pytest.approx(5.0)
    assert most_flow(transport([9.0], [2.0, 4.0])).served_rps == pytest.approx(6.0)


def test_without_capacities_all_traffic_goes_through_one_pair():
    """The paper's formulation: nothing but the rating of the pairs, here their hop. It collapses."""
    free = transport([np.inf] * 3, [np.inf] * 3, hop_s=np.array([[3.0, 2.0, 3.0], [2.0, 3.0, 1.0], [4.0, 3.0, 2.0]]))
    flow = balanced_flow(free, 5.0)
    assert np.count_nonzero(flow.pairs > 1e-6) == 1
    assert flow.pairs[1, 2] == pytest.approx(5.0)


def test_with_capacities_it_spreads():
    limited = transport([4.0] * 3, [4.0] * 3, hop_s=np.array([[3.0, 2.0, 3.0], [2.0, 3.0, 1.0], [4.0, 3.0, 2.0]]))
    flow = balanced_flow(limited, 9.0)
    assert flow.pairs.sum(axis=1) == pytest.approx([3.0] * 3)
    assert flow.pairs.sum(axis=0) == pytest.approx([3.0] * 3)


def test_load_is_shared_in_proportion_to_speed():
    flow = balanced_flow(transport([6.0, 2.0], [3.0, 9.0]), 4.0)
    assert flow.pairs.sum(axis=1) == pytest.approx([3.0, 1.0])
    assert flow.pairs.sum(axis=0) == pytest.approx([1.0, 3.0])


def test_a_replica_may_serve_alone_where_that_is_possible():
    flow = most_flow(transport([2.0], [8.0, 0.0], local_rps=[0.0, 3.0]))
    assert flow.local == pytest.approx([0.0, 3.0])
    assert flow.served_rps == pytest.approx(5.0)


def test_a_slow_hop_takes_more_of_a_prefill_replica():
    slow = transport([4.0], [9.0, 9.0], prefill_use=np.array([[0.25, 0.5]]))
    assert most_flow(slow).pairs[0] == pytest.approx([4.0, 0.0])


def test_an_impossible_pair_carries_nothing():
    cut = transport([4.0, 4.0], [2.0, 9.0], prefill_use=np.array([[0.25, np.inf], [0.25, np.inf]]))
    assert most_flow(cut).served_rps == pytest.approx(2.0)


def test_wires_carry_what_they_can():
    both = np.ones((1, 1, 2)) * 0.5
    wired = transport([9.0], [9.0, 9.0], wire_gbit=both, wire_gbit_per_s=np.array([1.0]))
    assert most_flow(wired).served_rps == pytest.approx(2.0)


def test_paid_transfer_stays_within_its_budget():
    paid = transport([9.0], [2.0, 9.0], usd_per_hour=np.array([[0.0, 0.5]]), budget_usd_per_hour=1.0)
    assert most_flow(paid).pairs[0] == pytest.approx([2.0, 2.0])
    assert most_flow(replace(paid, budget_usd_per_hour=0.0)).served_rps == pytest.approx(2.0)


rates = st.lists(st.floats(0.5, 9.0), min_size=1, max_size=4)


@settings(max_examples=30)
@given(rates, rates)
def test_on_free_wires_the_most_is_the_smaller_sum(prefill, decode):
    assert most_flow(transport(prefill, decode)).served_rps == pytest.approx(min(sum(prefill), sum(decode)))


@settings(max_examples=30)
@given(rates, rates, st.floats(0.05, 0.99))
def test_balancing_serves_the_demand_and_overloads_no_one(prefill, decode, part):
    problem = transport(prefill, decode)
    demand = most_flow(problem).served_rps * part
    flow = balanced_flow(problem, demand)
    assert flow.served_rps == pytest.approx(demand)
    busy = [(flow.pairs.sum(axis=1) / prefill).max(), (flow.pairs.sum(axis=0) / decode).max()]
    assert busy == pytest.approx([demand / sum(prefill), demand / sum(decode)], rel=1e-4)
