"""Which machines to go on with, against every set there is."""

from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import shrinking
from planner.shrinking import cost_of, least_for, most_within

CENTS = st.integers(0, 400).map(lambda cents: cents / 100)


@st.composite
def fleets(draw):
    """Machines with prices; some of them serve alone, some only together with another."""
    names = [f"i{number}" for number in range(draw(st.integers(1, 6)))]
    alone = {name: draw(st.integers(0, 30)) / 10 for name in names}
    pairs = draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names), st.integers(1, 30)), max_size=3))
    prices = {name: draw(CENTS) for name in names}

    def serves(found):
        together = sum(rps / 10 for a, b, rps in pairs if {a, b} <= found)
        return sum(alone[name] for name in found) + together

    return names, prices, serves


def every_set(names):
    return [frozenset(one) for one in chain.from_iterable(combinations(names, k) for k in range(len(names) + 1))]


def free(prices):
    return frozenset(name for name, usd in prices.items() if usd == 0)


@given(fleets(), CENTS)
def test_the_most_that_a_budget_holds_is_found(fleet, budget):
    names, prices, serves = fleet
    sets = [one for one in every_set(names) if free(prices) <= one and cost_of(one, prices) <= budget + 1e-9]
    best = max((serves(one) for one in sets), default=0.0)
    found = most_within(names, prices, budget, serves)
    if best == 0:
        assert found is None
    else:
        assert found in sets
        assert serves(found) == pytest.approx(best)
        cheapest = min(cost_of(one, prices) for one in sets if serves(one) == pytest.approx(best))
        assert cost_of(found, prices) == pytest.approx(cheapest)


@given(fleets(), CENTS)
def test_the_least_for_a_rate_is_found(fleet, rate):
    names, prices, serves = fleet
    sets = [one for one in every_set(names) if free(prices) <= one and serves(one) >= rate and serves(one) > 0]
    found = least_for(names, prices, rate, serves)
    if not sets:
        assert found is None
    else:
        assert found in sets
        assert cost_of(found, prices) <= min(cost_of(one, prices) for one in sets) + 1e-9


@given(fleets(), CENTS, st.data())
def test_what_is_to_be_kept_is_kept(fleet, budget, data):
    names, prices, serves = fleet
    keep = frozenset(data.draw(st.sets(st.sampled_from(names))))
    for found in (
        most_within(names, prices, budget, serves, keep=keep),
        least_for(names, prices, 0, serves, keep=keep),
    ):
        assert found is None or keep <= found


@given(fleets(), CENTS, CENTS)
def test_a_fleet_of_which_not_every_set_is_listed_keeps_to_the_same_limits(fleet, budget, rate):
    names, prices, serves = fleet
    most, shrinking.MOST_LISTED = shrinking.MOST_LISTED, 0
    try:
        within, enough = most_within(names, prices, budget, serves), least_for(names, prices, rate, serves)
    finally:
        shrinking.MOST_LISTED = most
    assert within is None or (cost_of(within, prices) <= budget + 1e-9 and serves(within) > 0)
    assert (enough is None) == (serves(frozenset(names)) < rate or serves(frozenset(names)) == 0)
    assert enough is None or serves(enough) >= rate


def test_of_two_that_serve_as_much_the_dearer_one_goes():
    prices = {"i0": 1.0, "i1": 2.0}
    assert most_within(prices, prices, 2.0, lambda found: 3.0 * len(found)) == {"i0"}


def test_what_costs_nothing_stays():
    prices = {"mine": 0.0, "i1": 2.0}
    assert least_for(prices, prices, 1.0, lambda found: 2.0 * len(found)) == {"mine"}
    assert most_within(prices, prices, 0.0, lambda found: 2.0 * len(found)) == {"mine"}
