"""Rates in notches: the same highest one from wherever the search begins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.choosing.notches import NOTCH, highest_rate, notch_above

RATES = st.floats(0.5, 500.0)


@given(limit=RATES, start=st.floats(0.3, 1000.0), other=st.floats(0.3, 1000.0))
def test_the_highest_notch_is_found_from_wherever_one_begins(limit, start, other):
    found = highest_rate(lambda rate: rate <= limit, start, np.inf)
    hopeless = found == 0.0
    assert hopeless or limit / NOTCH * 0.999 <= found <= limit
    assert hopeless or highest_rate(lambda rate: rate <= limit, other, np.inf) in (0.0, found)


@given(most=RATES, start=RATES)
def test_the_most_that_may_be_tried_is_a_notch_of_its_own(most, start):
    assert highest_rate(lambda _: True, start, most) == most


@given(limit=RATES, most=RATES)
def test_nothing_above_the_most_is_tried(limit, most):
    tried = []
    found = highest_rate(lambda rate: not tried.append(rate) and rate <= limit, most, most)
    assert max(tried) == tried[0] == most
    assert found <= min(limit, most)


@pytest.mark.parametrize(("start", "most"), [(3.0, 7.0), (3.0, np.inf), (0.0, 7.0), (3.0, 0.0)])
def test_a_hopeless_search_ends_at_zero(start, most):
    assert highest_rate(lambda _: False, start, most) == 0.0


def test_a_hopeless_search_asks_a_few_times_only():
    tried = []
    highest_rate(lambda rate: bool(tried.append(rate)), 50.0, np.inf)
    assert len(tried) <= 8


@given(rate=RATES)
def test_the_notch_above_is_above_by_one_at_most(rate):
    assert rate < notch_above(rate) <= rate * NOTCH * (1 + 1e-9)
    assert notch_above(notch_above(rate)) == pytest.approx(notch_above(rate) * NOTCH)


def test_above_nothing_there_is_a_notch():
    assert 0 < notch_above(0.0) < 1e-6
