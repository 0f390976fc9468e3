"""Budgets by the clock."""

from datetime import datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioners.leases.windows import BudgetWindow, budget_at

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = BudgetWindow(time(20), time(7), "Europe/Berlin", 4.0)
NOON = BudgetWindow(time(12), time(13), "Europe/Berlin", 2.0)


def berlin(text: str, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("clock", "budget"),
    [("19:59", 14.0), ("20:00", 4.0), ("23:59", 4.0), ("00:00", 4.0), ("06:59", 4.0), ("07:00", 14.0), ("12:30", 2.0)],
)
def test_the_budget_follows_the_clock_over_midnight(clock, budget):
    assert budget_at(berlin(f"2026-11-22 {clock}"), 14.0, [NIGHT, NOON]) == budget


def test_where_windows_overlap_the_smallest_budget_holds():
    all_day_but_a_minute = BudgetWindow(time(0, 1), time(0), "UTC", 3.0)
    assert budget_at(berlin("2026-11-22 22:00"), 14.0, [NIGHT, all_day_but_a_minute]) == 3.0


def test_clocks_that_are_put_forward_or_back_still_decide():
    early = BudgetWindow(time(2), time(3), "Europe/Berlin", 1.0)
    forward = [berlin("2026-03-29 01:59"), berlin("2026-03-29 01:59") + 60]
    assert [early.covers(at) for at in forward] == [False, False]  # 02:00 to 03:00 is not shown that day
    assert early.covers(berlin("2026-10-25 02:30"))
    assert early.covers(berlin("2026-10-25 02:30", fold=1))  # and shown twice that day
    assert NIGHT.covers(berlin("2026-03-29 06:59"))
    assert not NIGHT.covers(berlin("2026-03-29 07:00"))


@given(at=st.integers(0, 2**32), minute=st.integers(0, 1439))
def test_a_window_and_the_rest_of_the_day_cover_every_moment_once(at, minute):
    cut, other = time(minute // 60, minute % 60), time((minute + 601) % 1440 // 60, (minute + 601) % 1440 % 60)
    halves = [BudgetWindow(cut, other, "America/New_York", 1.0), BudgetWindow(other, cut, "America/New_York", 1.0)]
    assert sum(half.covers(at) for half in halves) == 1


def test_a_window_of_no_length_is_refused():
    with pytest.raises(ValueError, match="another time than it begins"):
        BudgetWindow(time(7), time(7), "UTC", 1.0)
