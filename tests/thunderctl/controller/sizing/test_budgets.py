"""Budgets by the clock as a staircase: what it says holds at every minute, whatever clocks do."""

from datetime import datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioners.leases.windows import BudgetWindow, budget_at, edges
from thunderctl.controller.sizing.budgets import AHEAD_S, budget_from

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = BudgetWindow(time(20), time(7), "Europe/Berlin", 4.0)
MINUTES = st.builds(time, st.integers(0, 23), st.integers(0, 59))
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])
WINDOWS = st.lists(
    st.tuples(MINUTES, MINUTES, ZONES, st.integers(0, 9)).filter(lambda one: one[0] != one[1]), max_size=3
)


def berlin(text, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


def night_from(at, *windows):
    return budget_from(at, lambda when: budget_at(when, 14.0, windows), 14.0, windows)


@settings(max_examples=40)
@given(WINDOWS, st.integers(int(berlin("2026-03-27")), int(berlin("2026-04-07"))), st.integers(0, 60 * 24))
def test_every_minute_has_the_budget_of_its_step(given_windows, at, minutes):
    windows = [BudgetWindow(*one) for one in given_windows]
    budget = budget_from(at, lambda when: budget_at(when, 14.0, windows), 14.0, windows)
    when = at + 60 * minutes
    assert [usd for since, usd in budget.steps if since <= when][-1] == budget_at(when, 14.0, windows)


@settings(max_examples=40)
@given(WINDOWS, st.integers(int(berlin("2026-10-20")), int(berlin("2026-10-28"))), st.integers(1, 6 * 3600))
def test_the_least_until_a_moment_is_the_least_of_its_minutes(given_windows, at, within_s):
    windows = [BudgetWindow(*one) for one in given_windows]
    minutes = [at, *(60.0 * n for n in range(at // 60 + 1, (at + within_s) // 60 + 1))]
    assert night_from(at, *windows).least(within_s) == min(budget_at(when, 14.0, windows) for when in minutes)


def test_a_smaller_budget_is_seen_before_it_begins_and_ends_when_it_does():
    evening = night_from(berlin("2026-11-22 19:56"), NIGHT)
    assert (evening.now_usd_per_hour, evening.least(300), evening.least(200)) == (14.0, 4.0, 14.0)
    assert evening.lowered(300)
    assert evening.rises_at(300) == berlin("2026-11-23 07:00")


@pytest.mark.parametrize(("day", "hours"), [("2026-11-22", 11), ("2026-03-28", 10), ("2026-10-24", 12)])
def test_a_night_in_which_clocks_are_changed_is_an_hour_shorter_or_longer(day, hours):
    begins = berlin(f"{day} 20:00")
    assert night_from(begins, NIGHT).rises_at(0) == begins + hours * 3600


def test_without_windows_there_is_one_step_and_nothing_is_looked_up():
    assert night_from(0.0).steps == ((0.0, 14.0),)
    assert list(edges([], 0.0, AHEAD_S)) == []
    assert night_from(0.0).rises_at(0) is None


@settings(max_examples=40)
@given(st.integers(int(berlin("2026-03-27")), int(berlin("2026-04-07"))), st.integers(0, 900))
def test_what_was_looked_up_a_while_ago_says_the_same(at, passed_s):
    fresh, kept = night_from(at + passed_s, NIGHT), night_from(at, NIGHT).later(at + passed_s)
    assert (kept.at, kept.now_usd_per_hour) == (fresh.at, fresh.now_usd_per_hour)
    assert kept.steps == fresh.steps[: len(kept.steps)]
    assert kept.rises_at(0) == fresh.rises_at(0)
