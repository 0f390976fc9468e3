"""What a look at a provider reads of the store: what a listing may change, not every lease that ever was."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from provisioners.base import Label, Machine
from provisioners.leases.journal import LeaseState
from tests.provisioners.fakes import OWNER, FakeClock, FakeCloud, MemoryJournal
from tests.thunderctl.controller.situations import row
from thunderctl.controller.listings import Listings
from thunderctl.observing.known_leases import LATELY_S, WHOLE_EVERY_S

LABEL = str(Label(OWNER, "d", "l-i1"))


class Read(MemoryJournal):
    """Keeps which leases it gave out."""

    def __init__(self):
        super().__init__()
        self.given = []

    def leases(self, deployment=None, **how):
        found = super().leases(deployment, **how)
        self.given.append({one.instance for one in found})
        return found


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    made, long_ago, just_now = Read(), clock.at - LATELY_S - 60, clock.at - 60
    made.add_lease(replace(row("i0"), created_at=long_ago))
    made.add_lease(replace(row("i1", LeaseState.GONE), label=LABEL, created_at=long_ago, ended_at=long_ago))
    made.add_lease(replace(row("i2", LeaseState.GONE), created_at=long_ago, ended_at=just_now))
    return made


@pytest.fixture
def listings(store, clock):
    cloud = FakeCloud(clock, provider="vast")
    cloud.machines["m-i0"] = Machine("m-i0", row("i0").label, "running", 1.0)
    world = SimpleNamespace(name="d", store=store, provisioner=lambda _: cloud)
    return Listings(world, clock.pace())


async def test_what_ended_long_ago_is_read_at_the_first_look_and_then_now_and_then(listings, store, clock):
    for _ in range(3):
        await listings.look("vast")
    assert store.given == [{"i0", "i1", "i2"}, {"i0", "i2"}, {"i0", "i2"}]
    clock.at += WHOLE_EVERY_S
    await listings.look("vast")
    assert store.given[-1] == {"i0", "i1", "i2"}


async def test_a_machine_whose_lease_ended_long_ago_is_found_all_the_same(listings, store, clock):
    await listings.look("vast")
    listings.world.provisioner("vast").machines["m-i1"] = Machine("m-i1", LABEL, "running", 1.0)
    await listings.look("vast")
    clock.at += WHOLE_EVERY_S
    await listings.look("vast")
    assert {one.instance: one.state for one in store.leases()}["i1"] is LeaseState.DELETING


async def test_for_addresses_alone_what_may_cost_is_read(listings, store):
    await listings.peek("vast")
    assert store.given == [{"i0"}]
    assert set(listings.machines) == {"l-i0"}
