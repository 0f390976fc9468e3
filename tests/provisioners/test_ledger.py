"""What leases cost: by price and time, by hour, with what was moved between them."""

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import Refused
from provisioners.leases.budget import gate
from provisioners.leases.journal import LeaseRow, LeaseState, Price, usd
from provisioners.leases.ledger import by_hour, charges, lease_spent_usd, spend, usd_per_hour
from provisioners.leases.transfers import BUCKET_S, TransferReading, bucket_of, moved, transfer_usd_per_hour
from tests.provisioners.fakes import OURS, OWNER, lease

HOUR = 3600.0


def row(**changes) -> LeaseRow:
    made = LeaseRow("l", OWNER, "d", "p", "i0", "fake", "here", "offer", "label", 1.0, LeaseState.CREATED, 0.0, 0.0)
    return replace(made, **changes)


def reading(at: float, size: int, *, counter: float = 1.0, price: str | None = "0.02") -> TransferReading:
    return TransferReading("d", "a", "b", counter, at, size, None if price is None else Decimal(price))


def test_ten_tenths_are_one():
    rows = [row(lease_id=f"l{n}", quoted_usd_per_hour=0.1) for n in range(10)]
    assert usd_per_hour(rows) == Decimal(1)


def test_a_price_that_moved_counts_from_when_it_was_seen():
    moved_row = row().repriced(1.0, 10.0).repriced(3.0, HOUR)
    assert moved_row.prices == (Price(0.0, Decimal("1.0")), Price(HOUR, Decimal("3.0")))
    assert lease_spent_usd(moved_row, 3 * HOUR) == 1 + 2 * 3
    assert moved_row.repriced(3.0, 2 * HOUR) == moved_row


def test_the_first_price_seen_holds_from_the_request_on():
    [charge] = charges(row(quoted_usd_per_hour=5.0).repriced(2.0, HOUR), 2 * HOUR)
    assert (charge.since, charge.usd) == (0.0, 4)


def test_a_row_stored_before_prices_were_kept_goes_on_from_its_last_price():
    before = row(live_usd_per_hour=2.0)
    assert lease_spent_usd(before, HOUR) == 2
    assert lease_spent_usd(before.repriced(4.0, HOUR), 2 * HOUR) == 2 + 4


@pytest.mark.parametrize("state", [LeaseState.LOST, LeaseState.PLANNED])
def test_what_never_was_costs_nothing(state):
    assert lease_spent_usd(row(state=state, sent_at=0.0 if state is LeaseState.LOST else None), HOUR) == 0


async def test_a_look_notes_a_raised_price_and_its_time(journal, cloud, clock):
    from provisioners.leases.release import resume

    made = await lease(journal, cloud)
    clock.at += HOUR
    cloud.machines[made.provider_id] = replace(cloud.machines[made.provider_id], usd_per_hour=3.0)
    await resume(journal, cloud, **OURS, pace=clock.pace())
    [found] = journal.leases()
    assert [price.usd_per_hour for price in found.prices] == [1, 3]
    assert lease_spent_usd(found, clock.at + HOUR) == pytest.approx(Decimal(4))


prices = st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 50)), max_size=6)


@given(changes=prices, end=st.floats(0, 2e5))
def test_the_hours_of_a_lease_add_up_to_what_it_cost(changes, end):
    found = row()
    for at, price in sorted(changes):
        found = found.repriced(price, at)
    parts = list(charges(found, end))
    hours = by_hour([found], [], end)
    assert sum(hour.machines_usd for hour in hours) == pytest.approx(lease_spent_usd(found, end), abs=Decimal("1e-9"))
    assert all(one.until == other.since for one, other in pairwise(parts))
    assert sum(part.until - part.since for part in parts) == pytest.approx(end)


# Transfers.


def test_a_counter_that_begins_again_loses_and_doubles_nothing():
    readings = [reading(0, 10**9), reading(BUCKET_S, 3 * 10**9), reading(BUCKET_S, 10**9, counter=2.0)]
    assert sum(one.gb for one in moved(readings)) == 4
    assert spend([], readings, HOUR).transfer_usd == Decimal("0.08")


def test_what_moved_over_a_way_without_a_price_counts_as_nothing_and_is_said():
    found = spend([row()], [reading(0, 2 * 10**9, price=None)], HOUR)
    assert (found.usd, found.transfer_usd, found.unpriced_gb) == (1, 0, 2)


def test_the_last_hours_transfers_are_a_rate():
    readings = [reading(0, 10**9), reading(5 * HOUR, 6 * 10**9)]
    assert transfer_usd_per_hour(readings, 5 * HOUR + 60) == Decimal("0.1")
    assert transfer_usd_per_hour(readings, 7 * HOUR) == 0
    assert bucket_of(5 * HOUR + 60) == 5 * HOUR


@given(sizes=st.lists(st.integers(0, 10**12), min_size=1, max_size=8))
def test_what_moved_is_the_most_that_each_counter_said(sizes):
    readings = [reading(n * BUCKET_S, max(sizes[: n + 1])) for n in range(len(sizes))]
    assert sum(one.gb for one in moved(readings)) * 10**9 == max(sizes)


async def test_the_gate_counts_transfers(journal, cloud, clock):
    await lease(journal, cloud, "i0", budget=2.0)
    journal.readings = (reading(clock.at, 10**9),)
    with pytest.raises(Refused, match=r"transfers of 0\.02 \$/h makes 2\.02 \$/h"):
        await lease(journal, cloud, "i1", budget=2.0)
    await lease(journal, cloud, "i1", budget=2.02)


def test_a_quote_fits_to_the_last_digit():
    gate([row(quoted_usd_per_hour=0.1)], 0.2, 0.3)
    with pytest.raises(Refused):
        gate([row(quoted_usd_per_hour=0.1)], 0.2, 0.3, Decimal("0.0001"))
    assert usd(0.1) + usd(0.2) == Decimal("0.3")
