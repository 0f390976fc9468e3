from dataclasses import replace

import numpy as np
import pytest

from planner.demand import Demand
from planner.evaluate import Outcomes, Part, measure, measured_at, outcomes, requests_at
from planner.simulation.scenario import Lane, Requests, Server, Timings
from planner.workload import Slo
from tests.planner.paces import linear_pace

DEMAND = Demand(np.array([100.0, 300.0]), np.array([5.0, 15.0]))
SERVER = Server(linear_pace(fixed_s=0.003, token_s=1e-5), 100_000)
ALONE = Part((SERVER,), (Lane(0, 0, 1.0),))


def timings_of(first_s, last_s):
    none = np.zeros(len(first_s), dtype=np.int64)
    return Timings(
        first_s=np.array(first_s),
        last_s=np.array(last_s),
        prefill=none,
        decode=none,
        epoch=none,
        preemptions=none,
        busy_s=np.zeros((1, 1)),
        kv_held=np.zeros((1, 1)),
        bucket_s=1.0,
        peak_kv=np.zeros(1),
        end_s=max(last_s),
        events=9,
    )


def test_every_measure_follows_from_the_time_stamps():
    requests = Requests(np.array([0.0, 1.0, 2.0]), np.array([5.0, 5.0, 5.0]), np.array([11.0, 1.0, 2.0]))
    timings = timings_of([1.0, 1.5, np.inf], [2.0, 1.5, np.inf])
    found = outcomes(requests, timings)
    assert found.ttft_s.tolist() == [1.0, 0.5, np.inf]
    assert found.tpot_s[:2].tolist() == [0.1, 0.0]
    measures = measure(found, Slo(ttft_s=0.9, tpot_s=0.05), duration_s=4.0)
    assert (measures.requests, measures.completed) == (3, 2)
    assert (measures.slo_attainment, measures.goodput_rps) == (pytest.approx(1 / 3), 0.25)
    assert measures.throughput_tokens_per_s == 3.0
    assert (measures.ttft_p50_s, measures.tpot_p50_s, measures.e2e_p50_s) == (0.75, 0.1, 1.25)


def test_requests_that_arrive_while_replicas_fill_up_are_not_scored():
    requests = Requests(np.array([0.0, 5.0]), np.ones(2), np.ones(2))
    found = outcomes(requests, timings_of([1.0, 6.0], [1.0, 6.0]), since_s=2.0)
    assert found.e2e_s.tolist() == [1.0]


def test_goodput_is_of_a_second_of_arrivals_however_long_the_last_ones_take():
    found = Outcomes(*(np.full(10, value) for value in (1.0, 0.1, 90.0, 11.0)))
    measures = measure(found, Slo(), duration_s=100.0, arrivals_s=5.0)
    assert (measures.goodput_rps, measures.throughput_tokens_per_s) == (2.0, 1.1)


def test_answers_of_one_token_meet_tpot_and_are_in_no_percentile_of_it():
    found = Outcomes(np.full(4, 0.5), np.array([0.0, 0.0, 0.0, 0.1]), np.ones(4), np.array([1.0, 1.0, 1.0, 6.0]))
    measures = measure(found, Slo(), 1.0)
    assert (measures.tpot_p50_s, measures.slo_attainment) == (pytest.approx(0.1), 1.0)


@pytest.mark.parametrize("duration_s", [0.0, 1.0])
def test_nothing_completed_measures_as_nothing(duration_s):
    empty = Outcomes(*(np.zeros(0),) * 4)
    measures = measure(empty, Slo(), duration_s)
    assert (measures.slo_attainment, measures.goodput_rps, measures.tpot_p50_s) == (0.0, 0.0, 0.0)


def test_arrivals_have_the_rate_and_the_lengths_of_the_demand():
    found = requests_at(50.0, DEMAND, 200.0, seed=3)
    assert len(found.arrival_s) / found.arrival_s[-1] == pytest.approx(50.0, rel=0.05)
    assert found.prompt.mean() == pytest.approx(200.0)
    assert np.std(np.diff(found.arrival_s)) == pytest.approx(1 / 50, rel=0.05)


def test_arrivals_are_as_bursty_as_the_demand_and_its_prompts_as_cached():
    found = requests_at(50.0, replace(DEMAND, burstiness=0.25, cached_share=0.305), 200.0, seed=3)
    assert np.std(np.diff(found.arrival_s)) == pytest.approx(2 / 50, rel=0.05)
    assert found.cached.tolist() == np.floor(found.prompt * 0.305).tolist()


def test_a_part_gets_every_so_manieth_request_as_the_router_deals_them_out():
    part, whole = requests_at(20.0, DEMAND, 400.0, share=0.25, seed=3), requests_at(80.0, DEMAND, 400.0, seed=4)
    own = np.diff(whole.arrival_s[::4])
    assert np.diff(part.arrival_s).mean() == pytest.approx(own.mean(), rel=0.03)
    assert np.diff(part.arrival_s).std() == pytest.approx(own.std(), rel=0.03)


def test_parts_alike_are_simulated_once_and_count_as_often_as_there_are():
    one = measured_at(5.0, replace(DEMAND, burstiness=4.0), Slo(), [ALONE], seed=1)
    four = measured_at(20.0, DEMAND, Slo(), [Part(ALONE.servers, ALONE.lanes, 0.25, copies=4)], seed=1)
    assert four.requests == 4 * one.requests
    assert four.ttft_p50_s == pytest.approx(one.ttft_p50_s)
    assert four.throughput_tokens_per_s == pytest.approx(4 * one.throughput_tokens_per_s)
