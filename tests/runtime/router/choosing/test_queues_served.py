"""Engines over sockets, some with requests that others sent: they get fewer, within the bound, and stay up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from planner.rotation import AHEAD
from runtime.router.engines.upstream import METRICS_BYTES
from runtime.router.settings import RouterSettings
from tests.fakes import FakeEngine, serving
from tests.runtime.routing import PAIR, Clock, Running, behind_agents, routes_document, routing

FAST = RouterSettings(probe_every_s=0.05, queues_every_s=0.05)
ABOUT = AHEAD / 2
"""A request may find the one before it still booked, whose answer its client has just got."""


@dataclass
class Queued(FakeEngine):
    """Says of its queue what it is told to."""

    running: str = "0"
    waiting: str = "0"
    metrics_status: int = 200
    mute: bool = False
    asked: int = 0

    async def _metrics(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.mute:
            await asyncio.Event().wait()
        gauges = f"vllm:num_requests_running {self.running}\nvllm:num_requests_waiting {self.waiting}\n"
        return web.Response(text=f"# HELP\n{gauges}", status=self.metrics_status)


@asynccontextmanager
async def two(folder: Path, clock: Clock | None = None) -> AsyncIterator[tuple[Queued, Queued, Running]]:
    """A router over two engines of equal shares. Its time stands still: nothing gets old by a test's being slow."""
    engines = {"d0": Queued(), "d1": Queued()}
    async with serving(*engines.values()):
        document = routes_document(engines, [(name, name, 0.5, "local") for name in engines])
        async with routing(folder, document, probing=True, settings=FAST, now=clock or Clock()) as router:
            yield engines["d0"], engines["d1"], router


async def queue_of(router: Running, replica: str) -> dict[str, int] | None:
    [found] = [one for one in (await router.observed())["replicas"] if one["id"] == replica]
    queue: dict[str, int] | None = found["queue"]
    return queue


async def heard(
    router: Running, replica: str, queue: dict[str, int] | None, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """The router comes to know this of an engine's queue."""
    async with asyncio.timeout(20):
        while await queue_of(router, replica) != queue:
            meanwhile()
            await asyncio.sleep(0.01)


async def test_an_engine_with_others_requests_gets_fewer_within_the_bound_and_its_due_later(tmp_path: Path):
    async with two(tmp_path) as (busy, idle, router):
        busy.running, busy.waiting = "4", "16"
        await heard(router, "d0", {"running": 4, "waiting": 16, "beyond": 20})
        await heard(router, "d1", {"running": 0, "waiting": 0, "beyond": 0})
        for _ in range(60):
            assert (await router.post(prompt="hi"))[0] == 200
        assert (len(busy.seen), len(idle.seen)) == (30 - AHEAD, 30 + AHEAD)
        await heard(router, "d0", {"running": 4, "waiting": 16, "beyond": 20})
        async with router.http.get(f"{router.url}/metrics") as response:
            assert 'thunder_requests_beyond{replica="d0"} 20.0' in (await response.text()).splitlines()
        busy.running, busy.waiting = "0", "0"
        await heard(router, "d0", {"running": 0, "waiting": 0, "beyond": 0})
        for _ in range(60):
            assert (await router.post(prompt="hi"))[0] == 200
        assert abs(len(busy.seen) - 60) <= ABOUT


async def test_ones_own_requests_are_not_anothers(tmp_path: Path):
    engine = Queued(hang=True)
    async with serving(engine):
        document = routes_document({"m0": engine}, [("m0", "m0", 1.0, "local")])
        async with routing(tmp_path, document, probing=True, settings=FAST) as router, asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(router.post(prompt="hi"))
            engine.running, engine.waiting = "3", "4"
            await heard(router, "m0", {"running": 3, "waiting": 4, "beyond": 2})
            engine.running, engine.waiting = "5", "0"
            await heard(router, "m0", {"running": 5, "waiting": 0, "beyond": 0})
            engine.released.set()


async def test_both_ends_of_a_route_are_asked_over_the_agents_mutual_tls(tmp_path: Path):
    engines = {"p0": Queued(), "d0": Queued()}
    engines["p0"].waiting = "3"
    async with behind_agents(tmp_path, engines, PAIR, probing=True, settings=FAST) as router:
        await heard(router, "p0", {"running": 0, "waiting": 3, "beyond": 3})
        await heard(router, "d0", {"running": 0, "waiting": 0, "beyond": 0})


@pytest.mark.parametrize(
    "fault",
    [
        {"metrics_status": 404},
        {"running": "NaN"},
        {"waiting": f"16\n{'#' * METRICS_BYTES}"},
        {"mute": True},
    ],
    ids=["no metrics", "no numbers", "too much", "mute"],
)
async def test_an_engine_that_does_not_say_is_up_and_what_it_said_is_soon_void(tmp_path: Path, fault: dict[str, Any]):
    clock = Clock()

    def pass_time() -> None:
        clock.seconds += FAST.queues_every_s

    async with two(tmp_path, clock) as (engine, _, router):
        engine.running, engine.waiting = "4", "16"
        await heard(router, "d0", {"running": 4, "waiting": 16, "beyond": 20})
        for name, value in fault.items():
            setattr(engine, name, value)
        await heard(router, "d0", None, pass_time)
        assert all(replica["healthy"] for replica in (await router.observed())["replicas"])
        for _ in range(20):
            assert (await router.post(prompt="hi"))[0] == 200
        assert abs(len(engine.seen) - 10) <= ABOUT


async def test_a_mute_engine_is_asked_no_more_until_it_answers(tmp_path: Path):
    async with two(tmp_path) as (engine, other, _):
        engine.mute = True
        before, others = engine.asked, other.asked
        async with asyncio.timeout(20):
            while other.asked < others + 5:
                await asyncio.sleep(0.01)
        assert engine.asked <= before + 1


async def test_another_address_has_said_nothing_yet(tmp_path: Path):
    async with serving(elsewhere := Queued()), two(tmp_path) as (engine, other, router):
        for one in (engine, other, elsewhere):
            one.waiting = "5"
        await heard(router, "d0", {"running": 0, "waiting": 5, "beyond": 5})
        await heard(router, "d1", {"running": 0, "waiting": 5, "beyond": 5})
        elsewhere.mute = True
        moved = {"d0": elsewhere, "d1": other}
        document = routes_document(moved, [(name, name, 0.5, "local") for name in moved], epoch=2)
        assert (await router.put(document))[0] == 200
        await heard(router, "d0", None)
        assert await queue_of(router, "d1") == {"running": 0, "waiting": 5, "beyond": 5}
