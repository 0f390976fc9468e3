"""Leases that are read again and again: always what a whole reading says, whatever clock they ended by."""

from dataclasses import replace

import pytest

from provisioners.leases.journal import LeaseState
from tests.thunderctl.money.test_accounts import HOUR, NOW, becomes, leased
from thunderctl.observing.known_leases import OVERLAP_S, Costing, KnownLeases
from thunderctl.store.store import Store


@pytest.fixture
def store(tmp_path):
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as made:
        yield made


def test_nothing_that_changed_is_the_same_object(store):
    store.add_lease(leased("runs", LeaseState.READY, NOW - HOUR))
    store.add_lease(leased("gone", LeaseState.GONE, NOW - 9 * HOUR, NOW - 8 * HOUR))
    known = KnownLeases("d")
    first = known.read(store, NOW)
    assert known.read(store, NOW + 2) is first
    assert [row.lease_id for row in first.costing] == ["runs"]
    assert first.ended_since(NOW - 8.5 * HOUR) == first.rows[:1]
    assert first.ended_since(NOW - HOUR) == ()


def test_the_last_lease_of_each_instance_is_known_whether_it_runs_or_not(store):
    store.add_lease(leased("first", LeaseState.GONE, NOW - 9 * HOUR, NOW - 8 * HOUR))
    known = KnownLeases("d")
    known.read(store, NOW)
    store.add_lease(replace(leased("second", LeaseState.READY, NOW), instance="first"))
    assert known.read(store, NOW + 2).last["first"].lease_id == "second"


def test_what_ended_by_a_clock_that_is_hours_behind_is_seen_at_once(store):
    late = leased("late", LeaseState.READY, NOW - 9 * HOUR)
    store.add_lease(late)
    known = KnownLeases("d")
    known.read(store, NOW)
    becomes(store, late, state=LeaseState.GONE, ended_at=NOW - 2 * HOUR)
    assert OVERLAP_S < 2 * HOUR
    assert known.read(store, NOW + 2) == KnownLeases("d").read(store, NOW + 2)
    assert known.read(store, NOW + 4).costing == ()


def test_one_that_was_given_up_and_turns_up_costs_again(store):
    lost = leased("lost", LeaseState.LOST, NOW - 9 * HOUR, NOW - 8 * HOUR)
    store.add_lease(lost)
    known = KnownLeases("d")
    assert known.read(store, NOW).costing == ()
    becomes(store, lost, state=LeaseState.CREATED, ended_at=None)
    assert [row.lease_id for row in known.read(store, NOW + 2).costing] == ["lost"]


def test_who_has_nothing_to_do_with_what_is_over_is_shown_what_may_cost(store):
    store.add_lease(leased("gone", LeaseState.GONE, NOW - 9 * HOUR, NOW - 8 * HOUR))
    store.add_lease(leased("goes", LeaseState.DELETING, NOW - HOUR))
    journal = Costing(store)
    [goes] = journal.leases("d")
    journal.update_lease(replace(goes, attempts=1), was=LeaseState.DELETING)
    assert store.lease("goes").attempts == 1
    assert store.lease("gone").state is LeaseState.GONE
    assert store.lease("nobody") is None
