from dataclasses import replace

import numpy as np
import pytest

from planner.demand import demand_of
from planner.deployment import Codec, Phase, Route
from planner.errors import SpecError
from planner.evaluate import requests_at
from planner.models import llm_named
from planner.plan import plan
from planner.replay import Mark, replay, requests_of, with_prefix_hits
from planner.simulation.scenario import Requests
from planner.traces import trace_from_csv, workload_named
from planner.workload import Slo

CONVERSATION = workload_named("conversation")


@pytest.fixture(scope="module")
def made(handful):
    slo = Slo(ttft_s=2.0, tpot_s=0.025)
    return plan(handful, llm_named("qwen3-32b"), CONVERSATION, slo, budget_usd_per_hour=3.0)


def test_what_was_planned_can_be_read_back_and_replayed(made):
    requests = requests_at(made.predicted.goodput_rps, demand_of(CONVERSATION, made.max_model_len), 30.0, seed=11)
    found = replay(made, requests, seed=5)
    assert found.measures.completed == found.measures.requests == len(requests.arrival_s)
    assert set(found.busy_share) == {replica.id for replica in made.replicas}
    assert found.kv_bytes > 0


@pytest.mark.parametrize(
    ("workload", "slo", "budget"),
    [("conversation", Slo(), 3.0), ("conversation", Slo(ttft_s=1.0, tpot_s=0.04), 4.0), ("coding", Slo(), 3.0)],
    ids=str,
)
def test_a_plan_keeps_its_promise_for_as_long_as_it_runs(handful, workload, slo, budget):
    demanded = workload_named(workload)
    made = plan(handful, llm_named("qwen3-32b"), demanded, slo, budget_usd_per_hour=budget)
    demand = demand_of(demanded, made.max_model_len)
    runs = [
        replay(made, requests_at(made.predicted.goodput_rps, demand, 900.0, seed=seed), seed=seed)
        for seed in (11, 12, 13)
    ]
    attained = [run.measures.slo_attainment for run in runs]
    assert np.mean(attained) >= slo.attainment - 0.02
    assert np.mean(attained) == pytest.approx(made.predicted.slo_attainment, abs=0.06)
    assert np.mean([run.measures.goodput_rps for run in runs]) >= made.predicted.goodput_rps * (slo.attainment - 0.04)


def test_requests_that_the_plan_does_not_admit_are_rejected(made):
    requests = Requests(np.array([0.0, 1.0]), np.array([100.0, 9000.0]), np.array([10.0, 10.0]))
    found = replay(made, requests, seed=0)
    assert (found.rejected, found.measures.requests) == (1, 1)


def test_a_trace_is_played_at_its_own_times(made):
    trace = trace_from_csv("arrival_s,prompt_tokens,output_tokens\n5,100,10\n9,200,20\n", "t")
    requests = requests_of(trace)
    assert requests.arrival_s.tolist() == [0.0, 4.0]
    assert replay(made, requests, seed=0).measures.duration_s > 4.0


def test_a_trace_that_comes_all_at_once_has_no_rate_and_is_scored_by_its_duration(made):
    together = Requests(np.zeros(5), np.full(5, 100.0), np.full(5, 10.0))
    found = replay(made, together, seed=0)
    assert found.arrival_rate_rps == 0.0
    assert found.measures.goodput_rps == pytest.approx(5 / found.measures.duration_s)


def test_goodput_counts_by_the_second_of_arrivals(split_plan):
    """120 requests, two a second, that all meet the SLO."""
    measures = replay(split_plan, STEADY, slo=Slo(ttft_s=60.0, tpot_s=9.0), seed=0).measures
    assert measures.slo_attainment == 1.0
    assert measures.goodput_rps == pytest.approx(2.0)
    assert measures.duration_s > 60.0


def test_a_codec_that_packs_moves_fewer_bytes(split_plan):
    requests = Requests(np.arange(20.0), np.full(20, 1000.0), np.full(20, 5.0))
    packed = replace(split_plan, routes=(replace(split_plan.routes[0], codec=Codec.INT4), split_plan.routes[1]))
    raw_bytes, packed_bytes = (replay(p, requests, seed=0).kv_bytes for p in (split_plan, packed))
    assert raw_bytes == pytest.approx(0.75 * 20 * 1000 * split_plan.llm.kv_bytes_per_token)
    assert packed_bytes == pytest.approx(raw_bytes / 3.22, rel=0.01)


STEADY = Requests(np.arange(0.0, 60.0, 0.5), np.full(120, 1000.0), np.full(120, 50.0))


def flipped(plan):
    """r0 decodes what r1 prefills."""
    phases = {"r0": Phase.DECODE, "r1": Phase.PREFILL}
    replicas = tuple(one.flipped(phases.get(one.id, one.phase)) for one in plan.replicas)
    return replace(plan, replicas=replicas, routes=(Route("r1", "r0", 0.75, Codec.RAW, 64.0), plan.routes[1]))


def test_a_later_plan_puts_its_routes_in_force(split_plan):
    found = replay(split_plan, STEADY, later=[(20.0, flipped(split_plan))], seed=0)
    early, late = STEADY.arrival_s < 20.0, STEADY.arrival_s >= 20.0
    assert set(found.timings.prefill[early].tolist()) == {0, 2}
    assert set(found.timings.prefill[late].tolist()) == {1, 2}
    assert found.timings.epoch.tolist() == late.astype(int).tolist()
    assert found.marks == (Mark(20.0, "epoch 2"),)
    assert found.measures.completed == 120
    assert found.kv_bytes == pytest.approx(0.75 * 120 * 1000 * split_plan.llm.kv_bytes_per_token, rel=0.02)


def test_a_replica_that_fails_is_used_no_more(split_plan):
    found = replay(split_plan, STEADY, failures=[(30.0, "r1")], seed=0)
    late = STEADY.arrival_s >= 30.0
    assert set(found.timings.decode[late].tolist()) == {2}
    assert found.marks == (Mark(30.0, "r1 fails"),)
    assert (found.lost, found.measures.completed) == (0, 120)


def test_what_is_lost_is_counted_and_misses_the_targets(split_plan):
    failures = [(30.0, replica.id) for replica in split_plan.replicas]
    found = replay(split_plan, STEADY, failures=failures, seed=0)
    assert 60 <= found.lost <= 65
    assert found.measures.slo_attainment <= 0.5


def test_prefix_hits_spare_computing_but_not_the_transfer(split_plan):
    plain, cached = (replay(split_plan, with_prefix_hits(STEADY, share), seed=0) for share in (0.0, 0.8))
    assert cached.busy_share["r0"] < 0.6 * plain.busy_share["r0"]
    assert cached.kv_bytes == plain.kv_bytes


def test_a_later_plan_with_other_replicas_is_refused(split_plan):
    moved = replace(split_plan.replicas[0], stages=split_plan.replicas[1].stages)
    other = replace(split_plan, replicas=(moved, *split_plan.replicas[1:]))
    for plans in ((split_plan, other), (split_plan, replace(split_plan, replicas=split_plan.replicas[:2]))):
        with pytest.raises(SpecError, match="is not the same in plans"):
            replay(plans[0], STEADY, later=[(1.0, plans[1])], seed=0)


def test_a_replica_that_is_not_there_or_failed_before_cannot_fail(split_plan):
    with pytest.raises(SpecError, match="r1 fails 2 times; expected once"):
        replay(split_plan, STEADY, failures=[(1.0, "r1"), (2.0, "r0"), (9.0, "r1")], seed=0)
    with pytest.raises(SpecError, match="no replica 'r9' to fail; the plan has r0, r1, r2"):
        replay(split_plan, STEADY, failures=[(1.0, "r9")], seed=0)
