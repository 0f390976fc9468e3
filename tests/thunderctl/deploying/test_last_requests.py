"""Requests under way at `down`: they have their grace, and machines go no later than need be."""

import asyncio
from types import SimpleNamespace

import pytest

from planner.errors import HostError
from thunderctl.deploying.last_requests import await_last, grace_of, shut

SILENT = HostError("The host does not answer.")


class Router:
    """Says these counts one after the other, the last one for ever; None: it can't be asked."""

    def __init__(self, *counts, closes=True):
        self.counts, self.closes = list(counts), closes
        self.closed = False
        self.is_unlinked = False

    def running(self):
        return {"pid": 1}

    async def close(self):
        if not self.closes:
            raise SILENT
        self.closed = True

    async def observed(self):
        count = self.counts.pop(0) if len(self.counts) > 1 else self.counts[0]
        if count is None:
            raise SILENT
        return {"closed": self.closed, "in_flight": {"3": count, "4": 0}}


class Clock:
    """Half a second passes from look to look."""

    def __init__(self):
        self.at = 0.0

    def __call__(self):
        self.at += 0.5
        return self.at


@pytest.fixture
async def ending():
    return asyncio.get_running_loop().create_future()


async def waited(router, ending, grace_s):
    """How long it took."""
    clock, world = Clock(), SimpleNamespace(router=router)
    await shut(world)
    await await_last(world, ending, grace_s, clock=clock)
    return clock.at


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr("thunderctl.deploying.last_requests.LOOK_EVERY_S", 0.001)


async def test_machines_go_as_soon_as_nothing_is_under_way_though_the_router_still_ends(ending):
    assert await waited(Router(2, 1, 0), ending, 60.0) == 2.0


async def test_what_is_under_way_has_all_of_its_grace_and_no_more(ending):
    assert await waited(Router(1), ending, 60.0) == pytest.approx(60.0, abs=1.0)


async def test_that_nothing_is_under_way_counts_only_where_nobody_is_let_in(ending):
    assert await waited(Router(0, closes=False), ending, 60.0) == pytest.approx(60.0, abs=1.0)


async def test_a_router_that_has_ended_has_nothing_under_way(ending):
    ending.set_result(None)
    assert await waited(Router(None), ending, 60.0) == 1.0


async def test_one_that_could_not_be_ended_may_have_some_and_they_have_their_grace(ending):
    ending.set_result(SILENT)
    assert await waited(Router(None), ending, 60.0) == pytest.approx(60.0, abs=1.0)


def test_a_deployment_without_a_router_has_no_grace_to_give():
    router = SimpleNamespace(running=lambda: None, is_unlinked=False)
    assert grace_of(SimpleNamespace(router=router)) == 0.0
