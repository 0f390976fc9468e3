"""Callers share what one call says, and calls keep their distance; in virtual time."""

import asyncio

import pytest

from tests.virtual_time import VirtualLoop
from thunderctl.deploying.joined import Joined


class Counted:
    """Takes two seconds; says which call it was, and fails where that is `broken`."""

    def __init__(self, broken=0):
        self.begun_at = []
        self._broken = broken

    async def __call__(self):
        self.begun_at.append(asyncio.get_running_loop().time())
        number = len(self.begun_at)
        await asyncio.sleep(2)
        if number == self._broken:
            raise ValueError(number)
        return number


def run(work):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def test_who_asks_before_it_begins_shares_one_call():
    call = Counted()

    async def three():
        joined = Joined(call)
        return await asyncio.gather(*(joined.next() for _ in range(3)))

    assert run(three()) == [1, 1, 1]


def test_who_asks_while_one_is_under_way_gets_the_next_which_begins_in_its_time():
    call = Counted()

    async def staggered():
        joined = Joined(call, every_s=5)

        async def later(seconds):
            await asyncio.sleep(seconds)
            return await joined.next()

        return await asyncio.gather(*(later(seconds) for seconds in (0, 1, 1.5, 9)))

    assert run(staggered()) == [1, 2, 2, 3]
    assert call.begun_at == [0, 5, 10]


def test_calls_never_overlap():
    call = Counted()

    async def two():
        joined = Joined(call)
        first = asyncio.create_task(joined.next())
        await asyncio.sleep(1)
        return [await first, await joined.next()]

    assert run(two()) == [1, 2]
    assert call.begun_at == [0, 2]


def test_a_call_that_fails_fails_all_who_waited_and_none_after():
    async def failing():
        joined = Joined(Counted(broken=1))
        outcomes = await asyncio.gather(joined.next(), joined.next(), return_exceptions=True)
        return [type(one) for one in outcomes], await joined.next()

    assert run(failing()) == ([ValueError, ValueError], 2)


def test_one_who_gives_up_takes_nobody_with_it():
    call = Counted()

    async def one_leaves():
        joined = Joined(call)
        leaving, staying = asyncio.create_task(joined.next()), asyncio.create_task(joined.next())
        await asyncio.sleep(1)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        return await staying

    assert run(one_leaves()) == 1
