"""Tickets and fetches in one pool: neither keeps the other out, and who comes first is served first."""

import asyncio

import pytest

from runtime.relay.pool import ALIGNMENT, Pool
from runtime.relay.room import Room

SIZE = 8 * ALIGNMENT
PAGE = ALIGNMENT
LONG_S = 30.0


class World:
    """A room, and what tickets have of it."""

    def __init__(self):
        self.pool = Pool(SIZE)
        self.tickets = []
        self.room = Room(self.pool, lambda: sum(region.length for region in self.tickets))

    def ticket(self, length):
        if region := self.room.for_ticket(length):
            self.tickets.append(region)
        return region

    async def soon(self, length, within_s=LONG_S):
        if region := await self.room.for_ticket_soon(length, within_s):
            self.tickets.append(region)
        return region

    def read(self, region):
        self.tickets.remove(region)
        self.room.free(region)


@pytest.fixture
def world():
    world = World()
    yield world
    world.pool.close()


async def begun(work):
    """A task that has come as far as it can."""
    task = asyncio.create_task(work)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def test_tickets_have_all_of_a_pool_that_nothing_is_fetched_into(world):
    assert all([world.ticket(4 * PAGE), world.ticket(4 * PAGE)])


async def test_tickets_leave_some_where_there_are_fetches(world):
    world.room.free(await world.room.for_fetch(PAGE, LONG_S))
    assert world.ticket(4 * PAGE)
    assert not world.ticket(3 * PAGE)
    assert world.ticket(2 * PAGE)
    assert await world.room.for_fetch(2 * PAGE, 0.0)


async def test_the_only_ticket_may_have_all(world):
    world.room.free(await world.room.for_fetch(PAGE, LONG_S))
    assert world.ticket(SIZE)


async def test_a_ticket_that_waits_for_its_share_is_in_no_fetchs_way(world):
    world.room.free(await world.room.for_fetch(PAGE, LONG_S))
    first = world.ticket(6 * PAGE)
    waiting = await begun(world.soon(PAGE))
    assert not waiting.done()
    assert await world.room.for_fetch(PAGE, 0.0)
    world.read(first)
    assert await waiting


async def test_who_needs_little_does_not_overtake_who_waits_for_much(world):
    rest = [await world.room.for_fetch(4 * PAGE, LONG_S) for _ in range(2)]
    much = await begun(world.room.for_fetch(6 * PAGE, LONG_S))
    little = [await begun(world.room.for_fetch(PAGE, LONG_S)), await begun(world.soon(PAGE))]
    world.room.free(rest.pop())
    await begun(asyncio.sleep(0))
    assert not any(task.done() for task in (much, *little))
    world.room.free(rest.pop())
    assert all([await much, *[await task for task in little]])


async def test_who_waits_for_room_waits_as_long_as_others_give_some_back(world):
    held = [await world.room.for_fetch(PAGE, LONG_S) for _ in range(8)]
    much = await begun(world.room.for_fetch(SIZE, 0.5))
    for region in held:
        await asyncio.sleep(0.1)
        world.room.free(region)
    region = await much
    assert region is not None
    assert await world.room.for_fetch(PAGE, 0.1) is None


async def test_who_gives_up_lets_the_next_one_in(world):
    rest = await world.room.for_fetch(6 * PAGE, LONG_S)
    much = await begun(world.room.for_fetch(SIZE, 0.01))
    little = await begun(world.room.for_fetch(PAGE, LONG_S))
    assert await much is None
    assert await little
    world.room.free(rest)


@pytest.mark.parametrize("ask", ["for_ticket_soon", "for_fetch"])
async def test_what_never_fits_is_not_waited_for(world, ask):
    async with asyncio.timeout(1):
        assert await getattr(world.room, ask)(SIZE + 1, LONG_S) is None
