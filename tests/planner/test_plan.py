"""Every plan is legal, within its budget, no better than its bound, and what it promises is what simulation shows."""

import json
from dataclasses import replace

import pytest

from planner.catalog import Link
from planner.deployment import Codec, Phase, Plan
from planner.document import plan_from_json, plan_to_json
from planner.errors import Infeasible, SpecError
from planner.gpus import gpu_named
from planner.market import Interruptible, eligible
from planner.models import llm_named
from planner.plan import Goal, least_usd_per_hour, plan
from planner.traces import workload_named
from planner.validate import violations
from planner.workload import Slo

QWEN = llm_named("qwen3-32b")
CONVERSATION, CODING = workload_named("conversation"), workload_named("coding")
TIGHT = Slo(ttft_s=2.0, tpot_s=0.025)


@pytest.fixture(scope="module")
def split(handful) -> Plan:
    """What tight targets make of it."""
    return plan(handful, QWEN, CONVERSATION, TIGHT, budget_usd_per_hour=6.0)


def phases(made: Plan) -> set[Phase]:
    return {replica.phase for replica in made.replicas}


def check(made: Plan) -> None:
    assert violations(made) == []
    assert made.predicted.goodput_rps > 0
    assert made.predicted.slo_attainment >= made.slo.attainment
    assert made.search.objective_rps <= made.bound.goodput_rps * (1 + 1e-9)
    assert made.bound.gap == pytest.approx(1 - made.search.objective_rps / made.bound.goodput_rps)
    assert len(made.replicas) > 1 or phases(made) == {Phase.MIXED}
    assert plan_from_json(json.loads(json.dumps(plan_to_json(made)))) == made


ONE = ("llama-3.1-70b", CODING, TIGHT, 6.0)
REST = [
    ("llama-30b", CODING, TIGHT, 3.0),
    ("qwen3-14b", CONVERSATION, Slo(), 6.0),
    ("qwen3-32b", CODING, TIGHT, 6.0),
    ("llama-30b", CONVERSATION, Slo(), 6.0),
    ("qwen3-14b", CODING, TIGHT, 3.0),
    ("llama-3.1-70b", CONVERSATION, Slo(), 3.0),
]
"""With them and those of more and more money, any two of a model, a workload and a budget meet."""


@pytest.mark.parametrize(
    ("model", "workload", "slo", "budget"), [ONE, *(pytest.param(*one, marks=pytest.mark.soak) for one in REST)]
)
def test_plans_over_models_budgets_and_workloads_are_legal(handful, model, workload, slo, budget):
    check(plan(handful, llm_named(model), workload, slo, budget_usd_per_hour=budget))


def test_the_default_plan_is_close_to_its_bound(default_market):
    """The whole market, for once."""
    made = plan(default_market, QWEN, CONVERSATION, Slo(), budget_usd_per_hour=14.0)
    check(made)
    assert made.bound.gap < 0.02
    assert made.predicted.goodput_rps == pytest.approx(made.search.objective_rps, rel=0.25)
    assert made.workload.rate_rps == made.predicted.goodput_rps
    assert (made.market_source, made.budget_usd_per_hour, made.goal) == ("snapshot", 14.0, "goodput")


def test_tight_targets_make_it_split_and_it_says_what_that_gains(split):
    check(split)
    assert {Phase.PREFILL, Phase.DECODE} <= phases(split)
    (colocated,) = split.alternatives
    assert colocated.name == "colocated on the same instances"
    assert colocated.goodput_rps < split.predicted.goodput_rps


@pytest.mark.parametrize("budgets", [(1.0, 3.0), pytest.param((1.0, 3.0, 6.0), marks=pytest.mark.soak)])
def test_more_money_never_serves_less(handful, budgets):
    made = [plan(handful, QWEN, CONVERSATION, Slo(), budget_usd_per_hour=budget) for budget in budgets]
    for one in made:
        check(one)
    goodput = [one.search.objective_rps for one in made]
    assert goodput == sorted(goodput)


def test_the_same_inputs_give_the_same_plan(handful, noon):
    first, second = (
        plan(handful, QWEN, CONVERSATION, TIGHT, budget_usd_per_hour=3.0, now=noon, seed=3) for _ in range(2)
    )
    assert first.plan_id == second.plan_id
    assert replace(first, search=second.search) == second


def test_a_rate_is_served_for_the_least_money(handful):
    made = plan(handful, QWEN, CONVERSATION.at(2.0), Slo(), budget_usd_per_hour=6.0, goal=Goal.COST)
    check(made)
    assert made.workload.rate_rps == 2.0
    assert made.predicted.goodput_rps >= 2.0
    dearer = plan(handful, QWEN, CONVERSATION.at(8.0), Slo(), budget_usd_per_hour=6.0, goal=Goal.COST)
    assert made.cost_usd_per_hour < dearer.cost_usd_per_hour <= 6.0


def test_the_least_budget_that_an_error_names_works(handful):
    with pytest.raises(
        Infeasible, match=r"budget is 0\.10 \$/h; the cheapest plan that serves qwen3-32b .* costs"
    ) as no:
        plan(handful, QWEN, CONVERSATION, Slo(), budget_usd_per_hour=0.1)
    named = float(no.value.message.rsplit(" ", 2)[-2])
    assert named == pytest.approx(least_usd_per_hour(handful, QWEN, CONVERSATION, Slo()), abs=0.01)
    check(plan(handful, QWEN, CONVERSATION, Slo(), budget_usd_per_hour=named))


def test_a_budget_of_nothing_is_too_little_where_nothing_is_free(handful):
    with pytest.raises(Infeasible, match=r"The budget is 0\.00 \$/h; the cheapest plan"):
        plan(handful, QWEN, CONVERSATION, Slo(), budget_usd_per_hour=0.0)


def test_machines_that_cost_nothing_need_no_budget(market_of, offer):
    own = offer("lab", "A6000", provider="ssh", gpu_count=4, usd_per_hour=0.0)
    made = plan(market_of(own), llm_named("qwen3-8b"), CONVERSATION, Slo(), budget_usd_per_hour=0.0)
    check(made)
    assert made.cost_usd_per_hour == 0.0


def test_nonsense_is_an_error_before_anything_is_planned(default_market):
    with pytest.raises(SpecError, match="budget is -1 "):
        plan(default_market, QWEN, CONVERSATION, Slo(), budget_usd_per_hour=-1)
    with pytest.raises(SpecError, match="Goal cost has no rate"):
        plan(default_market, QWEN, CONVERSATION, Slo(), budget_usd_per_hour=14, goal=Goal.COST)


def test_a_link_at_an_offer_that_nobody_makes_is_named(market_of, offer):
    market, eight = market_of(offer("here"), offer("there")), llm_named("qwen3-8b")
    stated = {("here", "there"): Link(10.0, 1.0), ("there", "hree"): Link(10.0, 1.0)}
    with pytest.raises(SpecError, match="Links name 'hree'; expected ids of offers"):
        plan(market, eight, CONVERSATION, Slo(), budget_usd_per_hour=2.0, links=stated)
    del stated["there", "hree"]
    check(plan(market, eight, CONVERSATION, Slo(), budget_usd_per_hour=2.0, links=stated))


def test_what_binds_is_said_with_numbers(handful, market_of, offer):
    with pytest.raises(Infeasible, match="There are no offers"):
        plan(market_of(), QWEN, CONVERSATION, Slo(), budget_usd_per_hour=14)
    with pytest.raises(Infeasible, match=r"needs 63 GiB .* 8192 tokens; the largest instance on offer is 1 x A6000"):
        plan(market_of(offer("o")), QWEN, CONVERSATION, Slo(), budget_usd_per_hour=14)
    with pytest.raises(Infeasible, match=r"within TTFT 0\.01 s .*: alone, a mean prompt takes 0\.0\d+ s"):
        plan(handful, QWEN, CONVERSATION, Slo(ttft_s=0.01), budget_usd_per_hour=14)
    with pytest.raises(Infeasible, match=r"All offers together serve \d+\.\d requests/s .*; expected 9000"):
        plan(handful, QWEN, CONVERSATION.at(9000.0), Slo(), budget_usd_per_hour=1e6, goal=Goal.COST)
    with pytest.raises(Infeasible, match=r"budget is 2\.00 \$/h; the cheapest plan that serves 9 requests/s"):
        plan(handful, QWEN, CONVERSATION.at(9.0), Slo(), budget_usd_per_hour=2.0, goal=Goal.COST)


def test_interruptible_offers_can_be_refused(handful):
    safe = eligible(handful, interruptible=Interruptible.NEVER)
    made = plan(safe, QWEN, CONVERSATION, Slo(), budget_usd_per_hour=3.0)
    check(made)
    assert not any(instance.interruptible for instance in made.instances)


def test_fixed_rents_every_copy_of_every_offer(market_of, offer):
    """Half of the paper's fleet: 4 of each of four cards on one fast network, at its prices."""
    fleet = [
        offer(
            gpu, gpu, gpu_count=4, usd_per_hour=4 * price, network="lan", inet_up_gbit_per_s=40, inet_down_gbit_per_s=40
        )
        for gpu, price in (("A6000", 0.483), ("A5000", 0.223), ("A40", 0.403), ("RTX3090Ti", 0.307))
    ]
    llama = llm_named("llama-30b")
    made = plan(market_of(*fleet), llama, CONVERSATION, Slo(4.0, 0.1), budget_usd_per_hour=14.0, fixed=True)
    check(made)
    assert [instance.offer_id for instance in made.instances] == ["A6000", "A5000", "A40", "RTX3090Ti"]
    assert made.cost_usd_per_hour == pytest.approx(11.33 / 2, abs=0.01)
    assert {Phase.PREFILL, Phase.DECODE} <= phases(made)
    assert made.predicted.goodput_rps > 1.3 * made.alternatives[0].goodput_rps


def test_three_slots_of_this_host_split_when_tokens_must_come_fast(market_of, offer):
    slots = offer("slot", "CPU", provider="local", usd_per_hour=0.02, network="loopback", available=3)
    tiny = llm_named("tiny-llama")
    made = plan(market_of(slots), tiny, CONVERSATION, Slo(10.0, 0.02), budget_usd_per_hour=0.06, max_model_len=4096)
    check(made)
    assert len(made.instances) == 3
    assert sorted(replica.phase for replica in made.replicas) == ["decode", "prefill", "prefill"]
    assert "longer than 4096 tokens and were cut" in " ".join(made.notes)


@pytest.mark.parametrize("model", ["gpt-oss-20b", "qwen3-30b-a3b"])
def test_models_with_experts_are_planned_and_those_with_windows_only_mixed(market_of, offer, model):
    cards = offer("o", "A100-SXM4-80GB", gpu_count=2, usd_per_hour=4.0)
    made = plan(market_of(cards), llm_named(model), CONVERSATION, TIGHT, budget_usd_per_hour=5.0)
    check(made)
    told = "its KV cannot be moved between replicas" in " ".join(made.notes)
    assert told == (model == "gpt-oss-20b")
    assert phases(made) == {Phase.MIXED} or not told


def test_transfer_is_paid_out_of_the_budget(market_of, offer):
    near = offer("near", "RTX4090", gpu_count=4, usd_per_hour=1.0, egress_usd_per_gb=0.001, inet_up_gbit_per_s=10)
    far = offer("far", "A100-SXM4-80GB", usd_per_hour=1.0, inet_down_gbit_per_s=10)
    made = plan(market_of(near, far), llm_named("qwen3-8b"), CONVERSATION, TIGHT, budget_usd_per_hour=3.0)
    check(made)
    rented = sum(instance.usd_per_hour for instance in made.instances)
    assert made.cost_usd_per_hour == pytest.approx(rented + made.transfer_usd_per_hour)


def test_a_wanted_codec_is_used(handful, split):
    made = plan(handful, QWEN, CONVERSATION, TIGHT, budget_usd_per_hour=6.0, codec=Codec.INT8)
    check(made)
    assert {route.codec for route in made.routes} == {Codec.INT8} != {route.codec for route in split.routes}


def test_calibrated_means_every_card_is(market_of, offer):
    eight = llm_named("qwen3-8b")
    for gpu, known in (("A40", True), ("A6000", False)):
        made = plan(market_of(offer("o", gpu)), eight, CONVERSATION, Slo(), budget_usd_per_hour=2.0)
        assert made.predicted.calibrated is known is gpu_named(gpu).calibrated


def test_progress_is_told(market_of, offer):
    told: list[str] = []
    market = market_of(offer("o", "A40"))
    plan(market, llm_named("qwen3-8b"), CONVERSATION, Slo(), budget_usd_per_hour=2.0, progress=told.append)
    assert told[0] == "1 offer, 1 of use"
    assert len(told) > 1


def test_a_plan_is_made_for_how_requests_arrive_and_what_of_them_is_cached(market_of, offer):
    def made(**stream: float) -> Plan:
        offers = market_of(offer("a", available=2))
        workload = replace(CONVERSATION, **stream)
        return plan(offers, llm_named("llama-3.1-8b"), workload, Slo(ttft_s=1.0), budget_usd_per_hour=3.0)

    usual, bursty, cached = made(), made(burstiness=0.1), made(prefix_hit_share=0.6)
    assert (bursty.workload.burstiness, cached.workload.prefix_hit_share) == (0.1, 0.6)
    assert bursty.predicted.goodput_rps < 0.95 * usual.predicted.goodput_rps
    assert cached.predicted.goodput_rps > 1.2 * usual.predicted.goodput_rps


def test_instances_too_small_alone_serve_together_over_their_network(market_of, offer):
    """Two A6000 hold LLaMA-30B, one does not."""
    wires = {"inet_up_gbit_per_s": 10.0, "inet_down_gbit_per_s": 10.0}
    llama, slo = llm_named("llama-30b"), Slo(4.0, 0.15)
    joined = market_of(offer("a", available=4, network="lan", **wires))
    made = plan(joined, llama, CONVERSATION, slo, budget_usd_per_hour=4.0, fixed=True)
    check(made)
    assert [len(replica.instances) for replica in made.replicas] == [2, 2]
    with pytest.raises(Infeasible, match="llama-30b needs 64 GiB"):
        plan(market_of(offer("a", available=4, **wires)), llama, CONVERSATION, slo, budget_usd_per_hour=4.0, fixed=True)
