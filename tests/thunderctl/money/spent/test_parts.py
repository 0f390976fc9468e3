"""What was spent, cut and added up: no part is lost, and none counts twice, wherever it is cut."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.transfers import TransferReading
from thunderctl.money.spending import Spending
from thunderctl.money.spent.by import By
from thunderctl.money.spent.hours import day_of, hour_of, next_hour
from thunderctl.money.spent.parts import Part, Sum, added_up, parts_of
from thunderctl.money.spent.stints import Stint, stint_at, stints
from thunderctl.store.values import Event, SavedPlan

HOUR = 3600.0
T0 = datetime(2026, 10, 24, 12, tzinfo=UTC).timestamp()
"""Twelve hours before Berlin's clocks are put back."""
CENT = Decimal("0.01")
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Havana", "Africa/Cairo", "Australia/Lord_Howe")


def lease(lease_id: str = "l0", began: float = T0, hours: float = 3.0, usd: float = 1.0, **known) -> LeaseRow:
    made = LeaseRow(
        lease_id, "me", "d", "p", "i0", "vast", "here", "o", f"label {lease_id}", usd, LeaseState.GONE, began, began
    )
    return replace(made, ended_at=began + hours * HOUR, **known)


def whole(parts: tuple[Part, ...]) -> Sum:
    return next(iter(added_up(parts, ()).values()), Sum())


moments = st.floats(0, 90 * HOUR).map(lambda after: T0 + after)
prices = st.floats(0, 30).map(lambda usd: round(usd, 4))


@st.composite
def leases(draw, lease_id="l0"):
    row = lease(lease_id, draw(moments), draw(st.floats(0, 60)), draw(prices))
    for at in sorted(draw(st.lists(moments, max_size=3))):
        row = row.repriced(draw(prices), at)
    return replace(row, state=LeaseState.READY, ended_at=None) if draw(st.booleans()) else row


@st.composite
def spendings(draw):
    rows = tuple(draw(leases(f"l{number}")) for number in range(draw(st.integers(0, 3))))
    readings = [
        TransferReading("d", f"l{draw(st.integers(0, 3))}", "l9", 1.0, at // 600 * 600, gb * 10**9, price)
        for at, gb, price in draw(
            st.lists(
                st.tuples(moments, st.integers(0, 50), st.sampled_from([None, Decimal("0.07")])),
                max_size=5,
                unique_by=lambda one: one[0] // 600,
            )
        )
    ]
    return Spending(rows, tuple(readings), T0 + 100 * HOUR)


@st.composite
def served(draw):
    """Plans that came in force at any time, for every lease."""
    changes = sorted(draw(st.lists(moments, max_size=3, unique=True)))
    found = (Stint(float("-inf"), "p", "a"), *(Stint(at, f"p{at}", draw(st.sampled_from("ab"))) for at in changes))
    return dict.fromkeys(("l0", "l1", "l2"), found)


@given(spendings(), served(), st.sampled_from(ZONES), st.lists(st.sampled_from(By), max_size=3, unique=True))
def test_the_parts_are_the_whole_to_the_cent_whatever_they_are_added_up_by(spending, by_lease, name, by):
    tz = ZoneInfo(name)
    parts = parts_of(spending, by_lease, tz=tz)
    sums = added_up(parts, by, tz).values()
    spend = spending.spend
    assert abs(sum((one.usd for one in sums), Decimal(0)) - spend.usd) < CENT / 1000
    assert abs(sum((one.machines_usd for one in sums), Decimal(0)) - spend.machines_usd) < CENT / 1000
    assert sum((one.unpriced_gb for one in sums), Decimal(0)) == spend.unpriced_gb


@given(spendings(), served(), st.lists(moments, min_size=1, max_size=4))
def test_reports_of_times_that_follow_each_other_are_the_report_of_all_of_it(spending, by_lease, cuts):
    ends = [float("-inf"), *sorted(cuts), float("inf")]
    pieces = [whole(parts_of(spending, by_lease, since=a, until=b)) for a, b in pairwise(ends)]
    assert abs(sum((one.usd for one in pieces), Decimal(0)) - spending.spend.usd) < CENT / 1000
    assert sum((one.gb for one in pieces), Decimal(0)) == sum((one.gb for one in spending.ways), Decimal(0))


@given(moments, st.sampled_from(ZONES))
def test_hours_go_on_everywhere_and_no_day_ends_within_one(at, name):
    tz = ZoneInfo(name)
    then = next_hour(at, tz)
    assert 0 < then - at <= HOUR
    assert day_of(then - 0.001, tz) == day_of(at, tz)
    assert hour_of(then - 0.001, tz)[:13] == hour_of(at, tz)[:13] or name == "Australia/Lord_Howe"


def test_the_day_on_which_clocks_are_put_back_has_25_hours_and_one_of_them_twice():
    berlin = ZoneInfo("Europe/Berlin")
    began = datetime(2026, 10, 25, tzinfo=berlin).timestamp()
    parts = parts_of(Spending((lease(began=began, hours=30.0),), (), T0 + 100 * HOUR), {}, tz=berlin)
    by_day = added_up(parts, (By.DAY,), berlin)
    assert {key: one.hours for key, one in by_day.items()} == {("2026-10-25",): 25, ("2026-10-26",): 5}
    hours = [hour for (hour,) in added_up(parts, (By.HOUR,), berlin)]
    assert hours[2:4] == ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]


def event(at: float, plan_id: str) -> Event:
    return Event(1, at, "d", "plan.in_force", "", {"plan_id": plan_id})


def plan(plan_id: str, model: str, offer_id: str = "o") -> SavedPlan:
    instances = [{"id": "i0", "offer_id": offer_id}]
    return SavedPlan(plan_id, "d", 0.0, {"model": {"name": model}, "instances": instances})


PLANS = {"p": plan("p", "small"), "q": plan("q", "large"), "other": plan("other", "huge", "another machine")}


def test_a_lease_that_lived_through_several_plans_is_each_ones_for_its_time():
    found = stints(lease(), [event(T0 + 10, "p"), event(T0 + 60, "q"), event(T0 + 90, "p")], PLANS)
    assert [(one.since, one.model) for one in found[1:]] == [(T0 + 60, "large"), (T0 + 90, "small")]
    assert [stint_at(found, at).model for at in (T0, T0 + 60, T0 + 100)] == ["small", "large", "small"]


def test_a_machine_that_the_next_plan_does_without_stays_with_the_last_that_had_it():
    assert len(stints(lease(), [event(T0 + 60, "other"), event(T0 + 70, "unknown")], PLANS)) == 1


def test_while_it_starts_a_machine_is_of_the_plan_that_rented_it():
    [only] = stints(lease(plan_id="q"), [event(T0 - 60, "p"), event(T0 + 60, "q")], PLANS)
    assert only.model == "large"


@pytest.mark.parametrize("plan_id", ["", "gone"])
def test_a_machine_that_no_known_plan_had_is_no_models(plan_id):
    [only] = stints(lease(plan_id=plan_id), [], PLANS)
    assert only.model == ""


def test_what_was_moved_is_of_the_plan_in_force_when_its_bucket_ended():
    began = T0 // 600 * 600
    reading = TransferReading("d", "l0", "l1", 1.0, began, 10**9, Decimal("0.5"))
    found = {"l0": (Stint(float("-inf"), "p", "small"), Stint(began + 500, "q", "large"))}
    [part] = parts_of(Spending((), (reading,), T0 + HOUR), found)
    assert (part.model, part.transfer_usd) == ("large", Decimal("0.5"))
