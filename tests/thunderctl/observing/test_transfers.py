"""What agents counted between instances, as it is stored and priced."""

from dataclasses import replace
from decimal import Decimal

import pytest

from planner.deployment import Instance
from provisioners.leases.transfers import bucket_of
from tests.planner.plans import split_plan
from tests.thunderctl.observing.observed import heard, seen, view
from thunderctl.observing.transfers import transfer_readings

NOW = 1_790_000_123.0


def plan(**figures):
    """Two instances whose offers bill what leaves and what comes in."""
    ends = [
        Instance(
            name, "o", "vast", "here", "A6000", 1, 47.0, 0.5, egress_usd_per_gb=0.02, ingress_usd_per_gb=0.01, **figures
        )
        for name in ("i0", "i1")
    ]
    return replace(split_plan(), instances=tuple(ends))


def readings(made, *links, at=NOW):
    views = view("i0"), view("i1", *links)
    return transfer_readings(seen(*views), [one.lease for one in views], made, at)


def counted(size, counter=7.0, instance="i0"):
    return replace(heard(instance), bytes=size, counter=counter)


def test_what_came_from_another_instance_is_a_reading_at_the_price_of_its_way():
    [found] = readings(plan(), counted(5 * 10**9))
    assert (found.source, found.target, found.bytes, found.counter) == ("lease-i0", "lease-i1", 5 * 10**9, 7.0)
    assert (found.at, found.usd_per_gb, found.deployment) == (bucket_of(NOW), Decimal("0.03"), "d")


def test_a_private_network_costs_nothing():
    [found] = readings(plan(network="net"), counted(10**9))
    assert found.usd_per_gb == 0


@pytest.mark.parametrize("made", [None, replace(split_plan(), instances=())])
def test_a_way_that_the_plan_does_not_know_has_no_price(made):
    [found] = readings(made, counted(10**9))
    assert found.usd_per_gb is None


def test_a_machine_that_replaced_another_is_priced_as_itself():
    replaced = plan()
    first = replace(replaced.instances[0], offer_id="another")
    [found] = readings(replace(replaced, instances=(first, replaced.instances[1])), counted(10**9))
    assert found.usd_per_gb is None  # the bytes came from the machine that the plan no longer has


def test_peers_that_no_lease_knows_are_left_out():
    assert readings(plan(), counted(10**9, instance="stranger")) == ()
