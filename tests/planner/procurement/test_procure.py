"""The mixed-integer program against trying everything, on shops small enough for that."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.procurement.procure import GAP, most_rps, procure
from planner.procurement.purchase import Groups, Shop, Spans


def shop(prices, gpus, available=None, **fields) -> Shop:
    """Offers without private networks, whose KV can not leave them."""
    count = len(prices)
    usual = Shop(
        usd_per_hour=np.array(prices, float),
        gpus=np.array(gpus),
        available=np.array(available or [1] * count),
        network=np.full(count, -1),
        machine=np.full(count, -1),
        holds_both=np.full(count, True),
        slower=np.full((count, 2), np.inf),
        wire_rps=np.full((count, 2), 1e6),
        out_usd_per_hour=np.zeros(count),
        in_usd_per_hour=np.zeros(count),
        availability=np.ones(count),
    )
    return replace(usual, **fields)


def groups(*rows: tuple[int, int, float]) -> Groups:
    """(offer, GPUs, requests/s) each."""
    return Groups(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=np.float64),
    )


NONE = groups()


def test_the_budget_buys_what_serves_most():
    found = procure(
        shop([1.0, 2.0], [1, 1], [3, 3]), NONE, NONE, groups((0, 1, 1.0), (1, 1, 3.0)), budget_usd_per_hour=5
    )
    assert found is not None
    assert (found.copies.tolist(), found.mixed.tolist()) == ([1, 2], [1, 2])
    assert found.served_rps == pytest.approx(7.0)


def test_a_demand_is_served_for_the_least():
    found = procure(
        shop([1.0, 2.0], [1, 1], [9, 9]),
        NONE,
        NONE,
        groups((0, 1, 1.0), (1, 1, 3.0)),
        budget_usd_per_hour=50,
        demand_rps=4.0,
    )
    assert found is not None
    assert found.usd_per_hour == pytest.approx(3.0)


def test_what_cannot_be_bought_is_none():
    assert procure(shop([1.0], [1]), NONE, NONE, groups((0, 1, 1.0)), budget_usd_per_hour=9, demand_rps=2.0) is None
    assert procure(shop([1.0], [1]), NONE, NONE, groups((0, 1, 1.0)), budget_usd_per_hour=0.5, demand_rps=1.0) is None


def test_nothing_useless_is_rented():
    found = procure(shop([1.0, 1.0], [1, 1]), NONE, NONE, groups((0, 1, 2.0)), budget_usd_per_hour=9)
    assert found is not None
    assert found.copies.tolist() == [1, 0]


def test_kv_does_not_leave_an_instance_unless_it_can():
    prefill, decode = groups((0, 1, 3.0)), groups((1, 1, 3.0))
    apart = shop([1.0, 1.0], [1, 1])
    alone = procure(apart, prefill, decode, NONE, budget_usd_per_hour=9)
    assert alone is not None
    assert alone.served_rps == pytest.approx(0.0, abs=1e-6)
    linked = procure(replace(apart, slower=np.full((2, 2), 1.5)), prefill, decode, NONE, budget_usd_per_hour=9)
    assert linked is not None
    assert linked.served_rps == pytest.approx(2.0)


def test_copies_of_one_card_each_cannot_keep_kv_inside():
    singles = shop([1.0], [1], [4], holds_both=np.array([False]))
    prefill, decode = groups((0, 1, 3.0)), groups((0, 1, 3.0))
    cut = procure(singles, prefill, decode, NONE, budget_usd_per_hour=2.0)
    joined = replace(singles, network=np.array([0]), slower=np.ones((1, 2)))
    lan = procure(joined, prefill, decode, NONE, budget_usd_per_hour=2.0)
    assert cut is not None
    assert lan is not None
    assert (cut.served_rps, lan.served_rps) == (pytest.approx(0.0, abs=1e-6), pytest.approx(3.0))


def test_a_private_network_carries_kv_for_nothing_and_the_world_for_money():
    apart = shop([1.0, 1.0], [1, 1], slower=np.ones((2, 2)), out_usd_per_hour=np.full(2, 0.5))
    prefill, decode = groups((0, 1, 3.0)), groups((1, 1, 3.0))
    world = procure(apart, prefill, decode, NONE, budget_usd_per_hour=3.0)
    network = procure(replace(apart, network=np.zeros(2, int)), prefill, decode, NONE, budget_usd_per_hour=3.0)
    assert world is not None
    assert network is not None
    assert (world.served_rps, network.served_rps) == (pytest.approx(2.0), pytest.approx(3.0))


def test_bandwidth_limits_what_leaves():
    narrow = shop([1.0, 1.0], [1, 1], slower=np.ones((2, 2)), wire_rps=np.array([[0.7, 9.0], [9.0, 9.0]]))
    found = procure(narrow, groups((0, 1, 3.0)), groups((1, 1, 3.0)), NONE, budget_usd_per_hour=9)
    assert found is not None
    assert found.served_rps == pytest.approx(0.7)


def test_offers_of_one_machine_share_its_gpus():
    mixed = groups((0, 4, 5.0), (1, 8, 9.0))
    both = shop([1.0, 2.0], [4, 8])
    assert procure(both, NONE, NONE, mixed, budget_usd_per_hour=9).served_rps == pytest.approx(14.0)
    shared = replace(both, machine=np.zeros(2, int))
    assert procure(shared, NONE, NONE, mixed, budget_usd_per_hour=9).served_rps == pytest.approx(9.0)


def test_everything_is_rented_when_it_must_be():
    found = procure(shop([1.0, 1.0], [1, 2]), NONE, NONE, groups((0, 1, 1.0)), budget_usd_per_hour=9, rent_all=True)
    assert found is not None
    assert found.copies.tolist() == [1, 1]


@pytest.mark.parametrize(("usd_per_hour", "copies"), [(0.97, [9, 0]), (0.9, [0, 10])])
@pytest.mark.parametrize("split", [False, True])
def test_what_can_be_taken_back_is_rented_where_it_is_cheaper_by_more_than_it_loses(usd_per_hour, copies, split):
    """Ten copies each of two offers that are alike, of which the second may be taken back, and $9 an hour."""
    alike = shop([1.0, usd_per_hour], [2, 2], [10, 10], availability=np.array([1.0, 0.95]))
    halves = groups((0, 1, 2.0), (1, 1, 2.0))
    kinds = (halves, halves, NONE) if split else (NONE, NONE, groups((0, 2, 2.0), (1, 2, 2.0)))
    found = procure(alike, *kinds, budget_usd_per_hour=9.0)
    assert found is not None
    assert found.copies.tolist() == copies
    assert found.served_rps == pytest.approx(2.0 * sum(copies))


def test_what_must_be_rented_or_costs_least_is_chosen_as_if_nothing_were_taken_back():
    wide = shop([1.0, 0.99], [1, 1], availability=np.array([1.0, 0.5]))
    mixed = groups((0, 1, 2.0), (1, 1, 2.0))
    least = procure(wide, NONE, NONE, mixed, budget_usd_per_hour=9.0, demand_rps=2.0)
    assert least is not None
    assert least.copies.tolist() == [0, 1]
    kept = procure(replace(wide, availability=np.zeros(2)), NONE, NONE, mixed, budget_usd_per_hour=9.0, rent_all=True)
    assert kept is not None
    assert kept.served_rps == pytest.approx(4.0)


def brute_force(prices, gpus, prefill, decode, mixed, budget) -> float:
    """The best of every set of offers and every way to fill each of them with groups, KV staying inside."""

    def best_inside(offer: int) -> float:
        kinds = [
            (size, rps, phase)
            for phase, rows in enumerate((prefill, decode, mixed))
            for o, size, rps in rows
            if o == offer
        ]
        counts = product(*(range(gpus[offer] // size + 1) for size, _, _ in kinds))
        totals = [0.0]
        for chosen in counts:
            if sum(n * size for n, (size, _, _) in zip(chosen, kinds, strict=True)) <= gpus[offer]:
                rates = [
                    sum(n * rps for n, (_, rps, p) in zip(chosen, kinds, strict=True) if p == phase)
                    for phase in range(3)
                ]
                totals.append(min(rates[0], rates[1]) + rates[2])
        return max(totals)

    worth = [best_inside(offer) for offer in range(len(prices))]
    sets = product((0, 1), repeat=len(prices))
    return max(np.dot(chosen, worth) for chosen in sets if np.dot(chosen, prices) <= budget)


quarters = st.integers(2, 36).map(lambda n: n / 4)
rows = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.floats(0.5, 9.0)), max_size=3)


@settings(max_examples=40)
@given(st.lists(quarters, min_size=3, max_size=3), rows, rows, rows, quarters)
def test_no_one_finds_more_by_trying_everything(prices, prefill, decode, mixed, budget):
    gpus = [1, 2, 4]
    found = procure(shop(prices, gpus), groups(*prefill), groups(*decode), groups(*mixed), budget_usd_per_hour=budget)
    assert found is not None
    best = brute_force(prices, gpus, prefill, decode, mixed, budget)
    assert found.served_rps >= best * (1 - GAP) - 0.02
    assert found.bound >= best - 1e-6
    assert found.served_rps <= best + 1e-6


def pairs_over_both(rps: float, held: float) -> Spans:
    """For each phase a group with a GPU of each of two instances, which are two pools of one network."""
    return Spans(
        pool=np.arange(2),
        network=np.zeros(2, int),
        phase=np.arange(2),
        gpus=np.ones((2, 2)),
        rps=np.full(2, rps),
        held=np.full((2, 2), held),
        stays=np.full((2, 2, 2), held),
        reach=np.ones((2, 2), bool),
        most_beside=9.0,
    )


def two_in_a_network(gpus: int, wire_rps: float) -> Shop:
    joined = shop([1.0, 1.0], [gpus, gpus], network=np.zeros(2, int), slower=np.ones((2, 2)))
    return replace(joined, wire_rps=np.full((2, 2), wire_rps))


def test_groups_whose_layers_are_on_the_same_instances_need_no_wires():
    bound, found = most_rps(
        two_in_a_network(2, 0.0), NONE, NONE, NONE, pairs_over_both(3.0, 2.0), budget_usd_per_hour=9
    )
    assert bound == pytest.approx(3.0)
    assert found is not None
    assert found.spanning.tolist() == pytest.approx([1, 1])


def test_groups_have_no_more_kv_on_an_instance_than_its_gpus_allow():
    bound, _ = most_rps(two_in_a_network(2, 0.0), NONE, NONE, NONE, pairs_over_both(3.0, 1.2), budget_usd_per_hour=9)
    assert bound == pytest.approx(2.4)


@pytest.mark.parametrize("wire_rps", [0.0, 0.4, 5.0])
def test_all_groups_of_an_instance_share_its_wires(wire_rps):
    """Single groups decode on each instance what one group prefills over both, and none of its KV can stay."""
    spans = pairs_over_both(3.0, 1.5)
    spans = replace(spans, rps=np.array([3.0, 0.0]), held=spans.held * [[1.0], [0.0]], stays=spans.stays * 0.0)
    decode = groups((0, 1, 3.0), (1, 1, 3.0))
    bound, _ = most_rps(two_in_a_network(2, wire_rps), NONE, decode, NONE, spans, budget_usd_per_hour=9)
    assert bound == pytest.approx(min(3.0, 2 * wire_rps))


@pytest.mark.parametrize("only", [0, 1])
def test_groups_that_span_for_one_phase_serve_nothing_alone(only):
    spans = pairs_over_both(3.0, 2.0)
    rows = {name: getattr(spans, name)[[only]] for name in ("network", "phase", "gpus", "rps", "held", "stays")}
    mixed = groups((0, 1, 0.5))
    bound, _ = most_rps(two_in_a_network(2, 1.0), NONE, NONE, mixed, replace(spans, **rows), budget_usd_per_hour=9)
    assert bound == pytest.approx(1.0)


def test_parts_of_groups_serve_at_least_as_much():
    prefill, decode = groups((0, 2, 4.0)), groups((1, 1, 3.0))
    for gpus in (1, 2, 3):
        world = two_in_a_network(gpus, 9.0)
        whole, _ = most_rps(world, prefill, decode, NONE, Spans.none(2), budget_usd_per_hour=9)
        parts, _ = most_rps(world, prefill, decode, NONE, Spans.none(2), budget_usd_per_hour=9, whole=False)
        assert parts >= whole - 1e-9
