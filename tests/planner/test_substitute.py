"""Which offers take the place of a machine that could not be had, and what becomes of the plan."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalog import Offer
from planner.deployment import Codec, Instance, Phase, Plan, Replica, Route, Stage
from planner.gpus import gpu_named
from planner.substitute import kv_flows, substituted, substitutes
from planner.validate import validate
from tests.planner.plans import split_plan

A6000 = gpu_named("A6000")


def apart() -> Plan:
    """A prefill replica on i0 hands its KV to a decode replica on i1, one A6000 each, with no network of their own."""
    whole = split_plan()
    card = Instance("i0", "o0", "vast", "Texas, US", "A6000", 1, 47.4, 1.0, egress_usd_per_gb=0.002, machine="m0")
    return replace(
        whole,
        budget_usd_per_hour=3.0,
        cost_usd_per_hour=2.18,
        transfer_usd_per_hour=0.18,
        instances=(card, replace(card, id="i1", offer_id="o1", machine="m1")),
        replicas=(
            Replica("r0", Phase.PREFILL, (Stage("i0", (0,), 32),), 4.0, 150_000),
            Replica("r1", Phase.DECODE, (Stage("i1", (0,), 32),), 7.0, 150_000),
        ),
        routes=(Route("r0", "r1", 1.0, Codec.INT4, 1.0),),
        predicted=replace(whole.predicted, kv_gb_per_hour=90.0),
    )


def offer(offer_id: str, usd: float = 1.0, **other) -> Offer:
    """One A6000 on a machine of its own that states all that an engine needs."""
    stated = {
        "disk_gb": 500.0,
        "ram_gb": 64.0,
        "cuda_version": 13.0,
        "driver_version": 580.0,
        "egress_usd_per_gb": 0.002,
        "machine": f"of {offer_id}",
    }
    return Offer(offer_id, "vast", "Ohio, US", A6000, 1, usd, **stated | other)


def names(offers) -> list[str]:
    return [one.offer_id for one in offers]


def test_the_cheapest_that_fits_the_budget_comes_first():
    offers = [offer("too dear", 2.1), offer("dear", 1.8), offer("cheap", 0.8)]
    assert names(substitutes(apart(), "i0", offers)) == ["cheap", "dear"]


@pytest.mark.parametrize(
    "other",
    [
        offer("x", gpu_memory_gib=40.0),
        offer("x", interruptible=True),
        offer("x", leasable=False),
        offer("x", disk_gb=10.0),
        replace(offer("x"), gpu=gpu_named("A40")),
        replace(offer("x"), gpu_count=2),
        offer("x", inet_up_gbit_per_s=0.1),
    ],
    ids=["less memory", "may be taken back", "not to be rented", "little disk", "another card", "more cards", "narrow"],
)
def test_what_would_not_do_the_same_is_no_substitute(other):
    assert substitutes(apart(), "i0", [other]) == ()


def test_a_narrow_way_in_is_no_matter_where_kv_only_leaves():
    assert names(substitutes(apart(), "i0", [offer("x", inet_down_gbit_per_s=0.1)])) == ["x"]
    assert substitutes(apart(), "i1", [offer("x", inet_down_gbit_per_s=0.1)]) == ()


def test_what_was_tried_does_not_come_again_nor_does_its_machine():
    tried = [apart().instance("i0"), replace(apart().instance("i0"), offer_id="seen", machine="of twin")]
    assert names(substitutes(apart(), "i0", [offer("seen"), offer("twin"), offer("new")], tried=tried)) == ["new"]


def test_copies_that_others_are_about_to_lease_are_not_counted_on():
    copies = offer("pool", available=2)
    assert names(substitutes(apart(), "i0", [copies], promised={"pool": 1})) == ["pool"]
    assert substitutes(apart(), "i0", [copies], promised={"pool": 2}) == ()


def test_the_machine_of_another_instance_is_not_taken_though_the_market_may_still_show_it():
    assert names(substitutes(apart(), "i0", [offer("o1"), offer("o2")])) == ["o2"]
    by_another_name = offer("another size of it", 0.8, machine="m1")
    assert names(substitutes(apart(), "i0", [by_another_name, offer("o2")])) == ["o2"]
    elsewhere = replace(by_another_name, provider="runpod")  # machines are numbered by each provider
    assert names(substitutes(apart(), "i0", [elsewhere])) == ["another size of it"]


def test_moving_kv_counts_in_the_price():
    free, dear = offer("free to leave", 1.1, egress_usd_per_gb=0.0), offer("dear to leave", 1.0, egress_usd_per_gb=0.01)
    assert names(substitutes(apart(), "i0", [dear, free])) == ["free to leave", "dear to leave"]


def test_a_replica_that_spans_instances_stays_in_its_network():
    whole = split_plan()
    one, two = (
        Offer("lan", "vast", "Earth", gpu_named("A5000"), 1, 0.4, network="lan", gpu_memory_gib=23.6),
        Offer("wan", "vast", "Earth", gpu_named("A5000"), 1, 0.3, gpu_memory_gib=23.6),
    )
    assert names(substitutes(whole, "i1", [one, two])) == ["lan"]


def test_a_machine_that_meets_nobody_may_leave_its_network():
    alone = replace(split_plan(), routes=(Route("r2", "r2", 1.0, Codec.LOCAL),))
    elsewhere = Offer("wan", "vast", "Earth", A6000, 2, 1.0, gpu_memory_gib=47.4)
    assert names(substitutes(alone, "i0", [elsewhere])) == ["wan"]


def test_the_plan_with_a_substitute_says_what_it_costs_and_where_it_came_from():
    before = apart()
    taken = offer("new", 1.5, egress_usd_per_gb=0.004, inet_up_gbit_per_s=0.8, gpu_memory_gib=48.0)
    after = substituted(before, "i0", taken, "i0 was taken")
    validate(after)
    assert after.transfer_usd_per_hour == pytest.approx(90.0 * 0.004)
    assert after.cost_usd_per_hour == pytest.approx(1.5 + 1.0 + after.transfer_usd_per_hour)
    assert (after.instance("i0").offer_id, after.instance("i1")) == ("new", before.instance("i1"))
    assert after.instance("i0").gpu_memory_gib == 47.4, "engines stay as they were planned"
    assert after.routes[0].bandwidth_gbit_per_s == 0.8
    assert after.predicted.usd_per_million_tokens == pytest.approx(1.4 * after.cost_usd_per_hour / 2.18)
    assert (after.amends, after.notes[-1]) == (before.plan_id, "i0 was taken")
    assert after.plan_id != before.plan_id


def test_kv_flows_are_the_plans_kv_by_the_layers_that_instances_hold():
    spanning = replace(
        split_plan(),
        routes=(Route("r0", "r2", 1.0, Codec.RAW, 1.0),),
        predicted=replace(split_plan().predicted, kv_gb_per_hour=10.0),
    )
    assert [(flow.source, flow.target, flow.gb_per_hour) for flow in kv_flows(spanning)] == [
        ("i0", "i1", 5.0),
        ("i0", "i2", 5.0),
    ]
    assert kv_flows(split_plan()) == ()


@given(st.lists(st.tuples(st.floats(0.01, 4), st.floats(0, 0.02), st.floats(0.1, 2)), max_size=8))
def test_every_substitute_makes_a_legal_plan_and_they_come_in_the_order_of_what_that_costs(market):
    offers = [
        offer(f"o{n}x", usd, egress_usd_per_gb=egress, inet_up_gbit_per_s=up)
        for n, (usd, egress, up) in enumerate(market)
    ]
    plans = [substituted(apart(), "i0", one, "why") for one in substitutes(apart(), "i0", offers)]
    costs = [plan.cost_usd_per_hour for plan in plans]
    assert costs == sorted(costs)
    assert all(cost <= apart().budget_usd_per_hour * (1 + 1e-6) for cost in costs)


def test_a_route_without_a_share_moves_nothing():
    plan = apart()
    routes = (Route("r0", "r1", 0.0, Codec.INT4, 1.0), Route("r1", "r1", 1.0, Codec.LOCAL))
    assert kv_flows(replace(plan, routes=routes)) == ()
