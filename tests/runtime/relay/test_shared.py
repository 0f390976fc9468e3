"""Ranks that want the same tiles at the same time get them from one fetch."""

import asyncio

import pytest

from planner.deployment import Codec
from runtime.relay.pool import Region
from runtime.relay.shared import SharedFetches
from runtime.relay.ticket import AgentAddress, Ticket, UnknownTicket
from runtime.tiles.box import Box
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import Geometry

FORMAT = KvFormat(Geometry(4, 2, 64, "float16"), 200, Codec.RAW)
TICKET = Ticket("00" * 8, AgentAddress("h", 1, "p.agent.thunder"), "secret", "binding", FORMAT)
OTHER = Box((0, 4), (1, 2), (0, 4))


class World:
    """Fetches that end when they are told to, and what became of their regions."""

    def __init__(self):
        self.begun, self.cancelled, self.freed = 0, 0, []
        self.outcome = asyncio.get_running_loop().create_future()
        self.fetches = SharedFetches(self.freed.append)

    async def bring(self):
        self.begun += 1
        try:
            return await asyncio.shield(self.outcome)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def ask(self, count, box=FORMAT.whole):
        """So many callers, all of which wait."""
        callers = [asyncio.create_task(self.fetches.fetch(TICKET, box, self.bring)) for _ in range(count)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return callers


@pytest.fixture
async def world():
    return World()


async def test_several_ranks_read_one_region_and_the_last_frees_it(world):
    callers = await world.ask(3)
    world.outcome.set_result(Region(4096, 10))
    regions = await asyncio.gather(*callers)
    late = await world.fetches.fetch(TICKET, FORMAT.whole, world.bring)
    assert {*regions, late} == {Region(4096, 10)}
    assert world.begun == 1
    for region in regions:
        world.fetches.release(region)
    assert world.freed == []
    world.fetches.release(late)
    assert world.freed == [Region(4096, 10)]


async def test_other_tiles_are_another_fetch(world):
    await world.ask(1)
    (other,) = await world.ask(1, OTHER)
    assert world.begun == 2
    world.outcome.set_result(Region(0, 10))
    await other


async def test_a_failure_reaches_all_and_the_next_one_tries_anew(world):
    callers = await world.ask(2)
    world.outcome.set_exception(UnknownTicket("gone"))
    for caller in callers:
        with pytest.raises(UnknownTicket):
            await caller
    world.outcome = asyncio.get_running_loop().create_future()
    world.outcome.set_result(Region(0, 10))
    assert await world.fetches.fetch(TICKET, FORMAT.whole, world.bring) == Region(0, 10)
    assert world.begun == 2


async def test_who_gives_up_takes_nothing_from_the_others_and_the_last_ends_it(world):
    first, second = await world.ask(2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (world.cancelled, second.done()) == (0, False)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert (world.cancelled, world.freed) == (1, [])


async def test_what_came_just_when_its_only_caller_gave_up_is_freed(world):
    (caller,) = await world.ask(1)
    (fetch,) = world.fetches._fetches.values()
    fetch.bringing.add_done_callback(lambda _: caller.cancel())
    world.outcome.set_result(Region(0, 10))
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert world.freed == [Region(0, 10)]
