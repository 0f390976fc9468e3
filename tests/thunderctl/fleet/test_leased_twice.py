"""Of several leases for one instance, the one that serves is taken for it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from provisioners.leases.journal import LeaseState
from tests.planner.plans import split_plan
from tests.thunderctl.controller.situations import row
from thunderctl.deploying.site import Site
from thunderctl.fleet.leased_twice import chosen


@pytest.mark.parametrize("state", [LeaseState.CREATED, LeaseState.DRAINING])
def test_one_that_is_ready_is_chosen_wherever_it_stands(state):
    mine, twin = row("i0"), row("i0", state, lease_id="twin")
    assert chosen([mine, twin]) == chosen([twin, mine]) == mine


def test_one_that_was_ready_comes_before_one_that_never_was():
    mine, twin = row("i0", LeaseState.DRAINING), row("i0", LeaseState.CREATED, lease_id="twin")
    assert chosen([twin, mine]) == mine


def test_of_equals_the_first_is_chosen_and_of_none_none():
    mine = row("i0", LeaseState.CREATED)
    assert chosen([mine, replace(mine, lease_id="twin")]) == mine
    assert chosen([]) is None


def site_of(*rows, unwanted=()):
    world = SimpleNamespace(name="d", store=SimpleNamespace(leases=lambda _name: rows))
    known = dict.fromkeys(("spec", "engines", "agents", "pace", "max_hours", "narrate", "amended"))
    return Site(world=world, plan=split_plan(), unwanted=frozenset(unwanted), **known)


def test_an_instance_that_comes_up_is_the_lease_that_was_made_ready():
    twin, mine = row("i0", LeaseState.CREATED, lease_id="twin"), row("i0")
    assert site_of(twin, mine).leased("i0") == mine


def test_what_is_to_be_released_is_no_instance():
    twin, mine = row("i0", lease_id="twin"), row("i0")
    assert site_of(twin, mine, unwanted=["twin"]).leased("i0") == mine
