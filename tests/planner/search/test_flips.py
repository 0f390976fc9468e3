from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.deployment import Codec, Phase
from planner.members import members_of
from planner.models import llm_named
from planner.plan import plan, rebalance
from planner.search.flips import PHASES, Rates, fractional_bound, served_bound
from planner.traces import workload_named
from planner.validate import violations
from planner.workload import Slo

CONVERSATION, CODING = workload_named("conversation"), workload_named("coding")


@pytest.fixture
def fleet(market_of, offer):
    """A plan for conversations on four cards of two kinds, on one fast network."""
    lan = {"network": "lan", "inet_up_gbit_per_s": 40.0, "inet_down_gbit_per_s": 40.0}
    cards = [offer(f"{gpu}-{n}", gpu, **lan) for gpu in ("A40", "A100-SXM4-40GB") for n in range(3)]
    slo = Slo(ttft_s=3.0, tpot_s=0.03)
    return plan(market_of(*cards), llm_named("qwen3-8b"), CONVERSATION, slo, budget_usd_per_hour=9.0, fixed=True)


def test_another_workload_flips_phases_and_touches_nothing_else(fleet):
    changed = rebalance(fleet, CODING)
    assert violations(changed) == []
    assert changed.instances == fleet.instances
    assert [(r.id, r.stages) for r in changed.replicas] == [(r.id, r.stages) for r in fleet.replicas]
    assert [r.phase for r in changed.replicas] != [r.phase for r in fleet.replicas]
    prefilling = [sum(r.phase.prefills for r in p.replicas) for p in (fleet, changed)]
    assert prefilling[1] > prefilling[0]
    assert changed.plan_id != fleet.plan_id


def test_what_was_in_force_is_named_with_what_it_would_serve(fleet):
    changed = rebalance(fleet, CODING)
    (before,) = changed.alternatives
    assert before.name == "phases as they were"
    assert before.goodput_rps < changed.predicted.goodput_rps


def test_the_same_workload_leaves_the_phases_alone(fleet):
    again = rebalance(fleet, CONVERSATION)
    assert [r.phase for r in again.replicas] == [r.phase for r in fleet.replicas]
    assert again.predicted.goodput_rps == pytest.approx(fleet.predicted.goodput_rps, rel=0.02)


def test_there_and_back_again(fleet):
    back = rebalance(rebalance(fleet, CODING), CONVERSATION)
    assert back.predicted.goodput_rps == pytest.approx(fleet.predicted.goodput_rps, rel=0.05)


def test_an_observed_rate_is_what_is_predicted_for(fleet):
    assert rebalance(fleet, CODING.at(1.0)).workload.rate_rps == 1.0


def test_other_targets_may_be_given(fleet):
    relaxed = rebalance(fleet, CODING, Slo(ttft_s=20.0, tpot_s=0.5))
    assert relaxed.slo.ttft_s == 20.0
    assert relaxed.predicted.goodput_rps > rebalance(fleet, CODING).predicted.goodput_rps


def test_a_lone_replica_stays_mixed(market_of, offer):
    alone = plan(market_of(offer("o", "A40")), llm_named("qwen3-8b"), CONVERSATION, Slo(), budget_usd_per_hour=2.0)
    assert [r.phase for r in rebalance(alone, CODING, Slo(10.0, 0.5)).replicas] == [Phase.MIXED]


def test_more_replicas_than_can_be_enumerated_are_rebalanced_too(market_of, offer):
    lan = {"network": "lan", "inet_up_gbit_per_s": 40.0, "inet_down_gbit_per_s": 40.0, "available": 14}
    cards = offer("o", "A100-SXM4-40GB", **lan)
    slo = Slo(ttft_s=3.0, tpot_s=0.03)
    many = plan(market_of(cards), llm_named("qwen3-8b"), CONVERSATION, slo, budget_usd_per_hour=14.0, fixed=True)
    changed = rebalance(many, CODING)
    assert violations(changed) == []
    assert len(changed.replicas) == len(many.replicas) >= 12
    assert changed.predicted.goodput_rps >= changed.alternatives[0].goodput_rps if changed.alternatives else True


def test_a_plans_members_are_its_replicas_where_they_run(split_plan):
    members = members_of(split_plan)
    assert [(m.replica.id, m.instance.id, m.layout.tp, m.layout.pp) for m in members] == [
        ("r0", "i0", 1, 1),
        ("r1", "i0", 1, 1),
        ("r2", "i1", 1, 2),
    ]


tables = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(st.floats(0.0, 9.0), min_size=n, max_size=n), min_size=3, max_size=3)
)


@settings(max_examples=60, deadline=None)
@given(tables)
def test_no_designation_beats_the_fractional_bound(table):
    rates = Rates(np.array(table))
    every = np.array(list(product(range(len(PHASES)), repeat=rates.replicas)))
    best = max(
        min(
            sum(table[0][i] for i, p in enumerate(row) if p == 0), sum(table[1][i] for i, p in enumerate(row) if p == 1)
        )
        + sum(table[2][i] for i, p in enumerate(row) if p == 2)
        for row in every.tolist()
    )
    assert served_bound(rates, every).max() == pytest.approx(best)
    assert fractional_bound(rates) >= best - 1e-6


def test_full_wires_are_relieved_by_packing(fleet):
    """Raw KV of coding prompts would fill the decode card's 40 Gbit/s; every hop packs instead."""
    changed = rebalance(fleet, CODING)
    assert {route.codec for route in changed.routes} == {Codec.INT4}
    raw = rebalance(fleet, CODING, codec=Codec.RAW)
    assert raw.predicted.goodput_rps < changed.predicted.goodput_rps
