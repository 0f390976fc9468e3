"""What is due when a lease's time or a deployment's money comes to its end."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioners.leases.journal import Cause, LeaseRow, LeaseState
from provisioners.leases.limits import Due, limits
from tests.provisioners.fakes import OWNER

HOUR = 3600.0
RICH = {"spent_usd": Decimal(0), "usd_per_hour": Decimal(0), "max_total_usd": 150.0}


def row(name: str = "i0", state: LeaseState = LeaseState.READY, expires_at: float | None = 12 * HOUR) -> LeaseRow:
    made = LeaseRow(name, OWNER, "d", "p", name, "fake", "here", "offer", name, 1.0, state, 0.0, 0.0)
    return replace(made, expires_at=expires_at)


def due(rows, now, **money) -> list[Due]:
    return [limit.due for limit in limits(rows, now, **(RICH | money))]


@pytest.mark.parametrize(
    ("left_s", "expected"),
    [(2 * HOUR, []), (HOUR, [Due.WARN]), (300.0, [Due.DRAIN]), (60.0, [Due.RELEASE]), (-HOUR, [Due.RELEASE])],
)
def test_a_lease_is_warned_of_then_drained_then_released(left_s, expected):
    assert due([row()], 12 * HOUR - left_s) == expected


def test_leases_that_end_together_are_one_limit_and_say_when():
    rows = [row("i0"), row("i1", expires_at=11.9 * HOUR), row("i2", expires_at=None)]
    [found] = limits(rows, 11.5 * HOUR, **RICH)
    assert found.lease_ids == ("i1", "i0")
    assert found.reason == "The leases of i1, i0 end at 11:54 UTC, in 24 min: [budget] max_hours."


def test_a_short_lease_lives_most_of_its_life():
    assert due([row(expires_at=600.0)], 300.0) == [Due.WARN]
    assert due([row(expires_at=600.0)], 545.0) == [Due.DRAIN]
    assert due([row(expires_at=600.0)], 590.0) == [Due.RELEASE]


@pytest.mark.parametrize(
    ("spent", "expected"),
    [("140", []), ("148.5", [Due.WARN]), ("149.9", [Due.DRAIN]), ("149.99", [Due.RELEASE]), ("151", [Due.RELEASE])],
)
def test_money_that_runs_out_ends_every_lease(spent, expected):
    rows = [row("i0", expires_at=None), row("i1", expires_at=None)]
    found = limits(rows, 100 * HOUR, spent_usd=Decimal(spent), usd_per_hour=Decimal(2), max_total_usd=150.0)
    assert [limit.due for limit in found] == expected
    assert all(limit.lease_ids == ("i0", "i1") for limit in found)


@pytest.mark.parametrize(("hours", "notice_s"), [(100, 240.0), (0.5, 0.08 * 1800)])
def test_money_that_is_gone_at_once_leaves_requests_the_time_between_draining_and_release(hours, notice_s):
    rows = [row("i0", expires_at=None)]
    [found] = limits(rows, hours * HOUR, spent_usd=Decimal(200), usd_per_hour=Decimal(2), max_total_usd=150.0)
    assert (found.due, found.cause) == (Due.RELEASE, Cause.MONEY)
    assert found.notice_s == pytest.approx(notice_s)


def test_the_end_of_a_lease_is_the_end():
    [found] = limits([row()], 13 * HOUR, **RICH)
    assert (found.cause, found.notice_s) == (Cause.TIME, 0.0)


def test_what_costs_nothing_by_the_hour_may_run_for_ever_until_the_money_is_gone():
    assert due([row(expires_at=None)], HOUR) == []
    assert due([row(expires_at=None)], HOUR, spent_usd=Decimal(150)) == [Due.RELEASE]


@pytest.mark.parametrize("state", [LeaseState.SENT, LeaseState.DELETING, LeaseState.GONE, LeaseState.LOST])
def test_what_does_not_run_is_not_limited(state):
    assert due([row(state=state)], 13 * HOUR, spent_usd=Decimal(200)) == []


@given(
    times=st.lists(st.floats(0, 14 * HOUR), min_size=2, max_size=2),
    spent=st.floats(0, 200),
    rate=st.floats(0, 50),
)
def test_what_is_due_never_becomes_less_urgent_with_time(times, spent, rate):
    before, after = (
        limits([row()], at, spent_usd=Decimal(spent), usd_per_hour=Decimal(rate), max_total_usd=150.0)
        for at in sorted(times)
    )
    assert urgency(before) <= urgency(after)
    assert [limit.due for limit in after] == sorted((limit.due for limit in after), key=list(Due).index, reverse=True)


def urgency(found) -> int:
    return max((1 + list(Due).index(limit.due) for limit in found), default=0)
