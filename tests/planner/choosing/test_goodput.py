"""What the fleet keeps up: found from either side, and never what only looks fine while replicas fill up."""

import numpy as np
import pytest

from planner.choosing.goodput import LONG_TTFT, PART, Trial, goodput, sustained_at
from planner.choosing.notches import NOTCH
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


def test_a_short_run_of_tiny_requests_lasts_longer_than_they_may_wait():
    """256 in each pass of a quarter of a second: thousands that come at once are in time, if no more follow."""
    tiny = Demand(np.ones(50), np.ones(50))
    fleet = [Part((Server(linear_pace(fixed_s=0.25), 10**6),), (Lane(0, 0, 1.0),))]
    slo = Slo(ttft_s=2.0)
    assert measured_at(1000.0, tiny, slo, fleet, seed=1).slo_attainment == 1.0
    assert measured_at(4000.0, tiny, slo, fleet, seed=1).slo_attainment < 0.5


@pytest.mark.timeout(30)
def test_a_rate_far_beyond_what_a_fleet_serves_is_soon_seen_to_be():
    hopeless_rps = 1e6
    assert measured_at(hopeless_rps, PROMPTS, SLO, PARTS, seed=1).slo_attainment < 0.5
    assert sustained_at(hopeless_rps, PROMPTS, SLO, PARTS, seed=1).least_attainment < 0.5


def test_rates_that_only_endless_runs_would_confirm_are_not_tried(monkeypatch):
    monkeypatch.setattr("planner.choosing.goodput.MOST_LONGER", 5000)
    endless = [Part((Server(linear_pace(fixed_s=1e-6), 10**6),), (Lane(0, 0, 1.0),))]
    found = goodput(Demand(np.ones(50), np.ones(50)), Slo(ttft_s=2.0), endless, 10.0, np.inf, seed=1)
    assert found == 5000 / (LONG_TTFT * 2.0)


@pytest.fixture
def trial() -> Trial:
    return Trial(PROMPTS, SLO, PARTS, CAPACITY_RPS, np.inf, 1)


def test_what_short_runs_find_too_little_is_not_confirmed(trial):
    unconfirmed = trial.goodput_rps(beyond_rps=99.0)
    assert CAPACITY_RPS * 1.15 < unconfirmed < 99.0


def test_a_fleet_exceeds_what_is_below_the_rate_that_it_sustains_and_no_other(trial):
    """Short runs attain 15 % more than is sustained: that is not enough."""
    found = trial.goodput_rps()
    assert trial.exceeds(found / NOTCH)
    assert trial.exceeds(0.0)
    assert not trial.exceeds(found)
    assert trial.attains(found * NOTCH)


def test_a_fleet_does_not_exceed_what_its_wires_carry():
    narrow = Trial(PROMPTS, SLO, PARTS, CAPACITY_RPS, CAPACITY_RPS / 2, 1)
    assert narrow.goodput_rps() == CAPACITY_RPS / 2
    assert not narrow.exceeds(CAPACITY_RPS / 2)


def test_no_run_is_made_twice(trial, monkeypatch):
    found = trial.goodput_rps()
    monkeypatch.setattr("planner.choosing.goodput.run_at", None)
    assert trial.sustained(found).least_attainment >= SLO.attainment
    assert trial.goodput_rps() == found


def test_slow_requests_make_a_long_run_longer():
    """40 tokens at 2.5 s each take 100 s: half of 15 times that is scored, and not half of ten minutes."""
    slow = [Part((Server(linear_pace(fixed_s=2.5), 10**6),), (Lane(0, 0, 1.0),))]
    demand = Demand(np.full(50, 100.0), np.full(50, 41.0))
    found = sustained_at(2.0, demand, Slo(ttft_s=9.0, tpot_s=3.0), slow, seed=1)
    assert found.least_attainment == 1.0
    assert found.measures.duration_s >= 2 * 15 / 2 * 100.0


def test_no_part_of_a_fleet_is_given_up_for_the_others():
    """One replica of many gets 1.5 times what it computes, which is less than a tenth of all that there is."""
    pace = linear_pace(fixed_s=1e-6, token_s=1e-4)
    many = Part((Server(pace, 10**6),), (Lane(0, 0, 1.0),), share=0.94 / 10, copies=10)
    one = Part((Server(linear_pace(fixed_s=1e-6, token_s=4e-4), 10**6),), (Lane(0, 0, 1.0),), share=0.06)
    rate_rps = 1.5 * CAPACITY_RPS / 4 / 0.06
    assert measured_at(rate_rps, PROMPTS, SLO, [many], seed=1).slo_attainment > SLO.attainment
    found = sustained_at(rate_rps, PROMPTS, SLO, [many, one], seed=1)
    assert found.measures.slo_attainment > SLO.attainment > PART > found.least_attainment
    assert goodput(PROMPTS, SLO, [many, one], rate_rps, np.inf, seed=1) < rate_rps / 1.3
