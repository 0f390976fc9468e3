"""What the fleet keeps up: found from either side, and never what only looks fine while replicas fill up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.choosing.goodput import CLOSE, goodput, highest_rate, lowered_rate, sustained_at
from planner.demand import Demand
from planner.evaluate import Part, measured_at
from planner.simulation.scenario import Lane, Server
from planner.workload import Slo
from tests.planner.paces import linear_pace

PROMPTS = Demand(np.full(50, 1000.0), np.ones(50))
SLO = Slo(ttft_s=20.0, tpot_s=0.1)
CAPACITY_RPS = 10.0
PARTS = [Part((Server(linear_pace(fixed_s=1e-6, token_s=1e-4), 10**6),), (Lane(0, 0, 1.0),))]
"""One replica that computes 10 prompts/s, and may take 20 s for each: a backlog needs minutes to be seen."""


@pytest.mark.parametrize("start", [0.7, 3.0, 9.5, 40.0])
def test_the_highest_rate_is_found_from_either_side(start):
    assert highest_rate(lambda rate: rate <= 10.0, start, np.inf) == pytest.approx(10.0, rel=0.02)


def test_the_highest_rate_is_never_above_what_may_be_tried():
    assert highest_rate(lambda _: True, 3.0, 7.0) == 7.0
    assert highest_rate(lambda _: True, 9.0, 7.0) == 7.0


def test_a_hopeless_search_ends_at_zero():
    assert highest_rate(lambda _: False, 3.0, 7.0) == 0.0


@given(limit=st.floats(0.5, 100.0), expected=st.floats(0.1, 200.0))
def test_a_rate_that_is_not_sustained_is_lowered_until_it_is(limit, expected):
    found = lowered_rate(lambda rate: rate <= limit, 100.0, expected)
    assert limit / (1 + CLOSE) <= found <= limit if limit >= 10.0 else found <= limit


def test_a_rate_that_is_sustained_is_kept():
    assert lowered_rate(lambda _: True, 7.0, 7.0) == 7.0
    assert lowered_rate(lambda _: True, 0.0, 7.0) == 0.0


def test_one_that_never_is_ends_at_zero():
    assert lowered_rate(lambda _: False, 7.0, 3.0) == 0.0


def test_a_short_run_ends_before_a_backlog_shows_and_a_long_one_does_not():
    rate_rps = CAPACITY_RPS * 1.15
    assert measured_at(rate_rps, PROMPTS, SLO, PARTS, seed=1).slo_attainment == 1.0
    assert sustained_at(rate_rps, PROMPTS, SLO, PARTS, seed=1).least_attainment < 0.2


@pytest.mark.parametrize("expected", [4.0, 10.0, 25.0])
def test_goodput_is_what_is_sustained_wherever_the_search_begins(expected):
    """A backlog of 20 s that grows for ten minutes, which the SLO allows, is 3 % more than the replica computes."""
    found = goodput(PROMPTS, SLO, PARTS, expected, np.inf, seed=1)
    assert CAPACITY_RPS * 0.94 < found < CAPACITY_RPS * 1.06
    assert sustained_at(found, PROMPTS, SLO, PARTS, seed=1).least_attainment >= SLO.attainment


def test_what_short_runs_find_too_little_is_not_confirmed():
    unconfirmed = goodput(PROMPTS, SLO, PARTS, CAPACITY_RPS, np.inf, beyond_rps=99.0, seed=1)
    assert CAPACITY_RPS * 1.15 < unconfirmed < 99.0


def test_slow_requests_make_a_long_run_longer():
    """40 tokens at 2.5 s each take 100 s: half of 15 times that is scored, and not half of ten minutes."""
    slow = [Part((Server(linear_pace(fixed_s=2.5), 10**6),), (Lane(0, 0, 1.0),))]
    demand = Demand(np.full(50, 100.0), np.full(50, 41.0))
    found = sustained_at(2.0, demand, Slo(ttft_s=9.0, tpot_s=3.0), slow, seed=1)
    assert found.least_attainment == 1.0
    assert found.measures.duration_s >= 2 * 15 / 2 * 100.0
