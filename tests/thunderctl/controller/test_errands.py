"""Work beside the ticks, under one hold of the lock."""

import asyncio
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from planner.errors import Refused
from thunderctl.controller.errands import BEGIN_S, Errands


class Lock:
    """Says whether it is held; `lost` once another has taken it over."""

    def __init__(self) -> None:
        self.held = self.lost = False

    @contextmanager
    def __call__(self):
        assert not self.held
        self.held = True
        yield SimpleNamespace(renew=self.renew)
        self.held = False

    def renew(self):
        if self.lost:
            raise Refused("taken over")


@pytest.fixture
def lock():
    return Lock()


async def test_the_lock_is_held_until_the_last_is_done_and_shared_meanwhile(lock):
    errands, done = Errands(lock, lambda: 0.0), [asyncio.Event(), asyncio.Event()]
    with errands.lock():
        for number, event in enumerate(done):
            errands.begin(f"look {number}", event.wait)
    done[0].set()
    await errands.join()
    with errands.lock():
        assert lock.held
    done[1].set()
    await asyncio.sleep(0.01)
    assert not lock.held


async def test_the_same_is_not_begun_twice_at_a_time(lock):
    errands, begun = Errands(lock, lambda: 0.0), []

    async def work():
        begun.append(1)
        await asyncio.sleep(0)

    for _ in range(2):
        with errands.lock():
            errands.begin("look", work)
    await errands.join()
    assert begun == [1]


async def test_nothing_more_is_begun_under_a_lock_that_was_held_for_long(lock):
    at = [0.0]
    errands, done, late = Errands(lock, lambda: at[0]), asyncio.Event(), []
    with errands.lock():
        errands.begin("look", done.wait)
    at[0] += BEGIN_S + 1

    async def work():
        late.append(1)

    with errands.lock():
        errands.begin("release", work)
    done.set()
    await errands.join()
    assert (late, lock.held) == ([], False)
    with errands.lock():
        errands.begin("release", work)
    await errands.join()
    assert late == [1]


async def test_what_is_under_way_is_given_up_once_another_took_the_lock_over(lock):
    errands = Errands(lock, lambda: 0.0)
    with errands.lock():
        errands.begin("look", asyncio.Event().wait)
    lock.lost = True
    with pytest.raises(Refused), errands.lock():
        pass
    await errands.join()
    assert not lock.held


async def test_a_bug_in_an_errand_is_raised_to_who_joins(lock):
    errands = Errands(lock, lambda: 0.0)

    async def work():
        raise ZeroDivisionError

    with errands.lock():
        errands.begin("look", work)
    with pytest.raises(ZeroDivisionError):
        await errands.join()
    assert not lock.held
