"""The lease protocol over Vast.ai: what the matrix (`test_lease_matrix.py`) does not ask, in words of its own."""

import asyncio
import math

import pytest

from planner.deployment import Instance
from provisioners.leases.acquire import acquire
from provisioners.leases.journal import LeaseState
from provisioners.leases.ledger import usd_per_hour
from provisioners.vast.client import CREATE_S
from tests.provisioners.fakes import MemoryJournal, intent, states
from tests.provisioners.lease_life import LeaseLife
from tests.provisioners.lease_worlds import VastLeaseWorld, ours
from tests.provisioners.vast_market import bundle
from tests.provisioners.vast_world import vast_world


@pytest.fixture
def world():
    with vast_world() as opened:
        yield VastLeaseWorld(opened)


@pytest.fixture
def life(world):
    return LeaseLife(world)


def test_an_outbid_machine_still_counts_until_it_is_released(life, world):
    life.lease("i0", "11-bid")
    world.happen("outbid")
    life.resume()
    [row] = life.journal.leases()
    [contract] = world.ours()
    assert row.usd_per_hour == pytest.approx(contract.dph_total)
    assert row.usd_per_hour > 0
    assert [price.usd_per_hour > 0.1 for price in row.prices] == [True, False]
    life.check_to_the_end()


def test_a_price_that_was_raised_is_what_the_budget_counts(life, world):
    life.lease("i0", "11")
    [contract] = world.ours()
    contract.gpus_usd_per_hour = 0.7
    life.resume()
    assert math.isclose(usd_per_hour(life.journal.leases()), contract.dph_total)
    life.lease("i1", "12")
    assert states(life.journal) == [LeaseState.CREATED]  # 0.7 and 0.5 are more than the budget


def test_a_machine_that_a_host_takes_back_is_seen_to_be_gone(life, world):
    life.lease("i0", "11")
    life.lease("i1", "12")
    world.happen("host gone")
    life.resume()
    assert states(life.journal) == [LeaseState.GONE, LeaseState.CREATED]
    assert len(ours(world)) == 1


async def test_forty_leases_at_once_are_one_search_and_a_create_every_turn():
    with vast_world(*(bundle(n) for n in range(1, 41))) as world:
        world.market.limited = False  # clocks that jump let requests overtake each other; the turns are counted instead
        provisioner, journal, began = world.provisioner(), MemoryJournal(), world.clock.at
        wanted = [Instance(f"i{n}", str(n), "vast", "", "A6000", 1, 47.4, 0.45) for n in range(1, 41)]
        leases = (
            acquire(journal, provisioner, intent(one), budget_usd_per_hour=40.0, now=world.clock) for one in wanted
        )
        rows = await asyncio.gather(*leases)
        assert len({row.provider_id for row in rows}) == 40
        assert sum(method == "POST" for method, _, _ in world.market.asked) == 1
        assert world.clock.at - began == pytest.approx(39 * CREATE_S)
