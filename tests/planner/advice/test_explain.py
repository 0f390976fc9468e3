"""Why a plan is as it is: what was taken and what was not, what binds, and how it degrades."""

import json
from dataclasses import replace

import pytest

from planner.advice.explain import explained, explanation_to_json
from planner.advice.levers import replica_levers
from planner.advice.robustness import as_candidate, narrowed, slowed, what_ifs
from planner.advice.startup import slowest_startup
from planner.catalog import Link
from planner.deployment import Codec, Phase, Plan, Route
from planner.links import INSIDE
from planner.models import llm_named
from planner.parallel.layouts import Capacities
from planner.plan import plan, task_of
from planner.traces import workload_named
from planner.workload import Slo

EIGHT, CONVERSATION, SLO = llm_named("qwen3-8b"), workload_named("conversation"), Slo()
CAPACITIES = Capacities(task_of(EIGHT, CONVERSATION, SLO, 8192))


def made_of(market, budget, **wanted):
    return plan(market, EIGHT, CONVERSATION, SLO, budget_usd_per_hour=budget, known=CAPACITIES, **wanted)


@pytest.fixture
def cards(offer):
    """Two good cards for 40 cents each, and dear ones."""
    return (offer("good", usd_per_hour=0.4, available=2), offer("dear", usd_per_hour=0.9, available=8))


@pytest.fixture
def joined(split_plan: Plan) -> Plan:
    """One replica that does both phases, over the A5000 of i1 and that of i2."""
    return replace(split_plan, replicas=(split_plan.replicas[2],), routes=(Route("r2", "r2", 1.0, Codec.LOCAL),))


def stated(gbit_per_s: float) -> dict[tuple[str, str], Link]:
    return {ends: Link(gbit_per_s, 0.5) for ends in (("i1", "i2"), ("i2", "i1"))}


JOINED = Capacities(task_of(llm_named("llama-3.1-8b"), CONVERSATION, SLO, 8192))


def test_each_offer_taken_stands_beside_the_best_that_was_not(market_of, cards):
    made = made_of(market_of(*cards), 0.8)
    (reason,) = explained(made, CAPACITIES, cards, links={}).reasons
    assert (reason.offer_id, reason.instances, reason.phase) == ("good", ("i0", "i1"), Phase.MIXED)
    assert reason.next_offer_id == "dear"
    assert reason.next_usd_per_hour_per_rps == pytest.approx(reason.usd_per_hour_per_rps * 0.9 / 0.4)
    assert reason.why_not == ""
    assert reason.served_rps == pytest.approx(made.search.objective_rps)


def test_an_offer_that_costs_less_per_request_and_was_not_taken_is_accounted_for(market_of, offer):
    whole = offer("whole", usd_per_hour=2.0, gpu_count=8)
    cards = (offer("small", usd_per_hour=0.5), whole)
    made = made_of(market_of(*cards), 0.6)
    (reason,) = explained(made, CAPACITIES, cards, links={}).reasons
    assert reason.next_usd_per_hour_per_rps < reason.usd_per_hour_per_rps
    assert reason.why_not == "at 2.00 $/h it does not fit the budget in its place"


def test_where_money_is_short_the_budget_binds(market_of, cards):
    found = explained(made_of(market_of(*cards), 0.8), CAPACITIES, cards, links={})
    assert found.binding[0].limit == "budget"
    gains = {lever.change: lever for lever in found.levers}
    assert gains["+1 $/h"].after_rps == pytest.approx(1.5 * gains["+1 $/h"].before_rps, rel=1e-6)
    assert gains["one more copy of each"].gain == pytest.approx(0.0, abs=1e-6)
    assert [lever.gain for lever in found.levers] == sorted((lever.gain for lever in found.levers), reverse=True)


def test_where_copies_are_short_availability_binds(market_of, offer):
    cards = (offer("good", usd_per_hour=0.4),)
    found = explained(made_of(market_of(*cards), 5.0), CAPACITIES, cards, links={})
    assert found.binding[0].limit == "availability"
    assert all(lever.limit != "budget" for lever in found.binding)


def test_a_fixed_fleet_was_not_chosen_so_nothing_is_asked_of_the_market(market_of, cards):
    found = explained(made_of(market_of(*cards), 20.0, fixed=True), CAPACITIES, cards, links={}, fixed=True)
    assert found.reasons == ()
    assert {lever.limit for lever in found.levers} == {"TTFT", "TPOT", "KV memory", "wires"}


def test_slower_cards_serve_less_and_it_is_said_for_each_type(market_of, offer):
    cards = (offer("a", usd_per_hour=0.4), offer("b", "L40S", usd_per_hour=0.4))
    made = made_of(market_of(*cards), 0.8)
    found = what_ifs(made, CAPACITIES.task, links={}, seed=0)
    assert [one.what for one in found] == [
        "A6000 is 20% slower than believed",
        "L40S is 20% slower than believed",
    ]
    assert all(0 < one.goodput_rps <= made.predicted.goodput_rps for one in found)
    assert min(one.goodput_rps for one in found) < made.predicted.goodput_rps
    assert all(one.slo_attainment <= made.predicted.slo_attainment + 0.01 for one in found)


def test_a_plan_simulated_as_it_is_believed_is_itself(market_of, cards):
    made = made_of(market_of(*cards), 0.8)
    same = as_candidate(made, {})
    assert [member.replica for member in same.members] == list(made.replicas)
    assert same.pairing.routes == made.routes


def test_half_the_bandwidth_is_half_of_what_lies_between_instances_only(split_plan):
    apart = replace(split_plan, routes=(replace(split_plan.routes[0], decode="r2"), split_plan.routes[1]))
    wide, narrow = (as_candidate(one, {}).pairing.hops[0].link for one in (apart, narrowed(apart)))
    assert narrow.bandwidth_gbit_per_s == wide.bandwidth_gbit_per_s / 2
    assert as_candidate(narrowed(split_plan), {}).pairing.hops[0].link is INSIDE


def test_stated_links_are_between_the_stages_of_a_replica_too(joined):
    slow, fast = (as_candidate(joined, stated(gbit)).members[0].layout.pace for gbit in (0.3, 10.0))
    assert slow.prefill_s(1000.0) > 2 * fast.prefill_s(1000.0)
    levers = {gbit: replica_levers(joined, JOINED, links=stated(gbit)) for gbit in (1.0, 10.0)}
    assert levers[1.0][0].before_rps < levers[10.0][0].before_rps
    assert {lever.limit: lever.binds for lever in levers[1.0]}["wires"]


def test_half_the_bandwidth_is_asked_of_replicas_that_span_instances(joined):
    narrow, *_ = what_ifs(joined, JOINED.task, links=stated(0.8), seed=0)
    assert narrow.what == "bandwidth between instances halves"
    assert narrow.goodput_rps < joined.predicted.goodput_rps


def test_what_the_market_would_add_to_replicas_that_span_instances_is_said_to_be_unknown(joined, offer):
    cards = tuple(offer(name, "A5000", network="lan") for name in ("o1", "o2"))
    found = explained(joined, JOINED, cards, links={})
    assert {lever.limit for lever in found.levers} == {"TTFT", "TPOT", "KV memory", "wires"}
    assert "Replicas span instances" in found.levers_left_out
    assert explanation_to_json(found)["levers_left_out"] == found.levers_left_out


def test_a_slowed_card_keeps_its_memory(offer):
    card = offer("a").gpu
    slow = slowed(card)
    assert slow.fp16_tflops == 0.8 * card.fp16_tflops
    assert slow.memory_gb_per_s == 0.8 * card.memory_gb_per_s
    assert (slow.memory_gib, slow.name) == (card.memory_gib, card.name)


def test_the_explanation_is_plain_json_and_its_pieces_sum_to_the_plans_start_up(market_of, cards):
    made = made_of(market_of(*cards), 0.8)
    document = json.loads(json.dumps(explanation_to_json(explained(made, CAPACITIES, cards, links={}))))
    assert set(document) == {"reasons", "levers", "levers_left_out", "what_ifs", "startup", "refused"}
    pieces = document["startup"]
    assert pieces["seconds"] == pytest.approx(sum(pieces.values()) - pieces["seconds"])
    assert made.startup_s == slowest_startup(EIGHT, made.instances).seconds == pieces["seconds"]
    assert made.startup_usd == pytest.approx(made.startup_s / 3600 * 0.8)
    assert document["levers"][0]["binds"] is True
