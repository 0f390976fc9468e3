"""The dynamic program against every permutation."""

from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.parallel.stage_order import stage_orders

hops = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(st.floats(0.0, 9.0), min_size=n, max_size=n), min_size=n, max_size=n)
)


def cost(hop_s, order) -> float:
    return sum(hop_s[u][v] for u, v in pairwise(order))


@settings(max_examples=80)
@given(hops)
def test_no_permutation_that_ends_alike_is_cheaper(hop_s):
    places = range(len(hop_s))
    found = stage_orders(hop_s)
    assert sorted(order[-1] for order in found) == list(places)
    for order in found:
        assert sorted(order) == list(places)
        others = (other for other in permutations(places) if other[-1] == order[-1])
        assert cost(hop_s, order) == pytest.approx(min(cost(hop_s, other) for other in others))


@settings(max_examples=40)
@given(hops)
def test_the_cheapest_comes_first(hop_s):
    costs = [cost(hop_s, order) for order in stage_orders(hop_s)]
    assert costs == pytest.approx(sorted(costs))


def test_a_slow_link_is_gone_round():
    """From 0 to 1 it is far, and both are near to 2."""
    assert stage_orders([[0, 9, 1], [9, 0, 1], [1, 1, 0]])[0] == (0, 2, 1)


def test_hops_may_cost_more_one_way_than_back():
    assert stage_orders([[0, 5], [1, 0]])[0] == (1, 0)


def test_where_all_hops_cost_the_same_the_places_keep_their_order():
    assert stage_orders([[0, 1, 1], [1, 0, 1], [1, 1, 0]])[0] == (0, 1, 2)
    assert stage_orders([[0]]) == ((0,),)
