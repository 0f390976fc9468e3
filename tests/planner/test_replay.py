import numpy as np
import pytest

from planner.demand import demand_of
from planner.evaluate import poisson_requests
from planner.models import llm_named
from planner.plan import plan
from planner.replay import replay, requests_of
from planner.simulate import Requests
from planner.traces import trace_from_csv, workload_named
from planner.workload import Slo

CONVERSATION = workload_named("conversation")


@pytest.fixture
def made(default_market):
    slo = Slo(ttft_s=1.0, tpot_s=0.04)
    return plan(default_market, llm_named("qwen3-32b"), CONVERSATION, slo, budget_usd_per_hour=14.0)


def test_a_plan_keeps_its_promise_when_it_is_read_back_and_replayed(made):
    demand = demand_of(CONVERSATION, made.max_model_len)
    requests = poisson_requests(demand, made.predicted.goodput_rps * 0.95, 60.0, seed=11)
    found = replay(made, requests, seed=5)
    assert found.measures.slo_attainment >= made.slo.attainment - 0.03
    assert found.measures.completed == found.measures.requests == len(requests.arrival_s)
    assert set(found.busy_share) == {replica.id for replica in made.replicas}
    assert found.kv_bytes > 0


def test_requests_that_the_plan_does_not_admit_are_rejected(made):
    requests = Requests(np.array([0.0, 1.0]), np.array([100.0, 9000.0]), np.array([10.0, 10.0]))
    found = replay(made, requests, seed=0)
    assert (found.rejected, found.measures.requests) == (1, 1)


def test_a_trace_is_played_at_its_own_times(made):
    trace = trace_from_csv("arrival_s,prompt_tokens,output_tokens\n5,100,10\n9,200,20\n", "t")
    requests = requests_of(trace)
    assert requests.arrival_s.tolist() == [0.0, 4.0]
    assert replay(made, requests, seed=0).measures.duration_s > 4.0


def test_a_codec_that_packs_moves_fewer_bytes(split_plan):
    from dataclasses import replace

    from planner.deployment import Codec

    requests = Requests(np.arange(20.0), np.full(20, 1000.0), np.full(20, 5.0))
    packed = replace(split_plan, routes=(replace(split_plan.routes[0], codec=Codec.INT4), split_plan.routes[1]))
    raw_bytes, packed_bytes = (replay(p, requests, seed=0).kv_bytes for p in (split_plan, packed))
    assert raw_bytes == pytest.approx(0.75 * 20 * 1000 * split_plan.llm.kv_bytes_per_token)
    assert packed_bytes == pytest.approx(raw_bytes / 3.22, rel=0.01)
