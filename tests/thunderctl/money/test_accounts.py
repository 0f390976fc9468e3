"""Money that is read again and again: always what a whole reading says, and old leases are read once."""

from dataclasses import replace

import pytest

from provisioners.leases.journal import LeaseRow, LeaseState
from thunderctl.money.accounts import Accounts
from thunderctl.money.spending import spending_of
from thunderctl.observing.known_leases import OVERLAP_S, WHOLE_EVERY_S
from thunderctl.store.store import Store

HOUR = 3600.0
NOW = 1000 * HOUR


class Watched:
    """A store that counts the lease rows that it gives."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.given = 0

    def leases(self, *asked, **how):
        found = self.store.leases(*asked, **how)
        self.given += len(found)
        return found

    def __getattr__(self, name):
        return getattr(self.store, name)


@pytest.fixture
def store(tmp_path):
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as made:
        yield Watched(made)


def leased(name: str, state: LeaseState, began: float, ended_at: float | None = None) -> LeaseRow:
    fields = (name, "me", "d", "p", name, "vast", "here", "o", f"label {name}", 1.5, state, began, began)
    return LeaseRow(*fields, ended_at=ended_at)


def becomes(store, row: LeaseRow, **changes) -> LeaseRow:
    after = replace(row, **changes)
    store.update_lease(after, was=row.state)
    return after


def same(found, store, now):
    """As if everything were read; and so are its sums."""
    whole = spending_of(store, "d", now)
    assert found == whole
    assert (found.spend, found.hours, found.life) == (whole.spend, whole.hours, whole.life)


def test_it_says_what_a_whole_reading_says_whatever_becomes_of_leases(store):
    accounts = Accounts("d")
    runs = leased("runs", LeaseState.READY, NOW - 9 * HOUR)
    lost = leased("lost", LeaseState.LOST, NOW - 8 * HOUR, NOW - 7 * HOUR)
    for row in (runs, lost, leased("gone", LeaseState.GONE, NOW - 7 * HOUR, NOW - 6 * HOUR)):
        store.add_lease(row)
    same(accounts.read(store, NOW), store, NOW)
    store.add_lease(leased("new", LeaseState.CREATED, NOW + 5))
    becomes(store, lost, state=LeaseState.CREATED, ended_at=None)
    same(accounts.read(store, NOW + 10), store, NOW + 10)
    becomes(store, runs, state=LeaseState.GONE, ended_at=NOW + 12)
    same(accounts.read(store, NOW + 20), store, NOW + 20)
    store.record("d", "down", "everything is gone")
    same(accounts.read(store, NOW + 30), store, NOW + 30)


def test_what_ended_just_before_the_last_reading_by_another_clock_is_seen(store):
    accounts = Accounts("d")
    late = leased("late", LeaseState.READY, NOW - HOUR)
    store.add_lease(late)
    accounts.read(store, NOW)
    becomes(store, late, state=LeaseState.GONE, ended_at=NOW - OVERLAP_S / 2)
    same(accounts.read(store, NOW + 1), store, NOW + 1)


def test_leases_that_are_over_are_read_once_and_all_of_them_now_and_then(store):
    for n in range(20):
        store.add_lease(leased(f"old {n}", LeaseState.GONE, NOW - (n + 2) * HOUR, NOW - (n + 1) * HOUR))
    store.add_lease(leased("runs", LeaseState.READY, NOW))
    accounts = Accounts("d")
    accounts.read(store, NOW)
    assert store.given == 21
    accounts.read(store, NOW + 1)
    assert store.given == 22
    accounts.read(store, NOW + WHOLE_EVERY_S + 1)
    assert store.given == 43


def test_a_clock_that_was_set_back_has_everything_read_anew(store):
    accounts = Accounts("d")
    store.add_lease(leased("runs", LeaseState.READY, NOW - HOUR))
    accounts.read(store, NOW)
    same(accounts.read(store, NOW - 3 * HOUR), store, NOW - 3 * HOUR)
