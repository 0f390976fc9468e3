"""The pause between ticks: as long as it says, and over at once when the router has news."""

import asyncio
from collections import deque

import pytest

from planner.errors import HostError
from tests.provisioners.fakes import FakeClock
from tests.thunderctl.controller.worlds import ControllerWorld
from thunderctl.controller.watch import GLANCE_S, Watch

BOTH = frozenset({"r0", "r1"})


class Router:
    """Says what a test wants, one look after the other, the last for ever."""

    def __init__(self, *says):
        self.says = deque(says)

    async def up(self):
        said = self.says.popleft() if len(self.says) > 1 else self.says[0]
        if said is None:
            raise HostError("The router is not running.")
        return said


async def paused(*says, seconds=2.0):
    """How long it paused, after it had heard the first."""
    clock = FakeClock()
    watch = Watch(Router(*says), clock, clock.sleep)
    await watch.pause(seconds)
    began = clock.at
    await watch.pause(seconds)
    return clock.at - began


@pytest.mark.parametrize("says", [BOTH, None])
async def test_without_news_it_is_as_long_as_it_says(says):
    assert await paused(says) == pytest.approx(2.0)


@pytest.mark.parametrize("news", [frozenset({"r0"}), None])
async def test_a_replica_or_a_router_that_is_lost_ends_it(news):
    assert await paused(BOTH, BOTH, BOTH, news) == pytest.approx(2 * GLANCE_S)


async def test_news_that_came_in_a_tick_are_not_lost():
    assert await paused(BOTH, frozenset({"r0"})) == 0


async def test_a_router_that_hangs_makes_no_pause_longer():
    class Hanging:
        async def up(self):
            await asyncio.Event().wait()

    watch = Watch(Hanging())
    async with asyncio.timeout(20):
        await watch.pause(0.05)
        await watch.pause(0.05)


async def test_what_the_router_gives_up_is_looked_at_though_the_next_tick_is_far_off(tmp_path, monkeypatch):
    """Whom the router and the controller miss is out at the first look: nobody waits for a second."""
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    made = ControllerWorld(tmp_path / "d", tick_s=60.0)
    down: list[dict] = []
    observed = made.router.observed

    async def observes():
        return {**await observed(), "replicas": down}

    async def up():
        return frozenset({"r0", "r1", "r2"} - {one["id"] for one in down})

    async def sleep(seconds):
        made.clock.at += seconds
        await asyncio.sleep(0)

    made.router.observed, made.router.up = observes, up
    made.controller.sleep = Watch(made.router, made.clock, sleep).pause
    controlling = asyncio.ensure_future(made.controller.run())
    while made.contact.asked < 5:
        await asyncio.sleep(0)
    made.contact.deaf = {"i0"}
    down.append({"id": "r0", "healthy": False, "reason": "refused"})
    began = made.clock.at
    while made.router.replicas == {"r0", "r1", "r2"}:
        assert made.clock.at - began <= 2.0
        await asyncio.sleep(0)
    assert "r0" not in made.router.replicas
    controlling.cancel()
