"""The only decode replica dies: what it had and what comes waits for the next plan, and no client notices."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from runtime.router.choosing.health import FIRST_EJECTION_S
from runtime.router.settings import RouterSettings
from tests.fakes import serving
from tests.runtime.router.carrying.test_other_epochs import ALONE
from tests.runtime.router.replay.test_replay import COMPLETION, assert_one_answer, stream
from tests.runtime.routing import PAIR, TOKEN, Clock, Running, routes_document, routing
from tests.runtime.token_engine import TokenEngine

STREAMS = 4
SHORT = RouterSettings(bereft_s=0.2)
LONG = RouterSettings(bereft_s=60.0, queue_s=60.0)
"""Longer than any test takes: what ends a wait is not its bound."""


@dataclass
class Mortal(TokenEngine):
    """Once it is dead it breaks off whatever it is asked."""

    dead: bool = False

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        self.break_next = self.dead
        return await super()._answer(request, body)

    def die(self) -> None:
        """With what it has."""
        self.dead, self.healthy = True, False
        self.released.set()


@dataclass
class Pair:
    """A router over a replica that prefills and the only one that decodes, and the requests that the latter has."""

    router: Running
    engines: dict[str, Any]
    streams: list["asyncio.Task[Any]"]

    async def bereft(self, count: int) -> None:
        """So many requests wait for another plan."""
        async with asyncio.timeout(20):
            while (await self.router.observed())["bereft"] != count:
                await asyncio.sleep(0.01)

    async def replan(self, phase: str = "mixed", **changed: Any) -> None:
        """Routes in which what prefilled is left, in another phase."""
        left = {"p0": self.engines["p0"]}
        document = routes_document(left, [("p0", "p0", 1.0, "local")], epoch=2) | changed
        document["replicas"][0]["phase"] = phase
        assert (await self.router.put(document))[0] == 200

    async def metric(self, name: str) -> str:
        async with self.router.http.get(f"{self.router.url}/metrics") as response:
            return next(line for line in (await response.text()).splitlines() if line.startswith(f"{name} "))


@asynccontextmanager
async def pair(folder: Path, *, streams: int = 1, **options: Any) -> AsyncIterator[Pair]:
    """With so many streams that have begun."""
    engines = {"p0": TokenEngine("p0"), "d0": Mortal("d0", break_after=4, drip=True)}
    async with serving(*engines.values()), routing(folder, routes_document(engines, PAIR), **options) as router:
        begun = [asyncio.create_task(stream(router, COMPLETION)) for _ in range(streams)]
        async with asyncio.timeout(20):
            while len(engines["d0"].seen) < streams:
                await asyncio.sleep(0.01)
        yield Pair(router, engines, begun)


@pytest.mark.parametrize("phase", ["mixed", "decode"])
async def test_no_request_fails_with_the_only_decode_replica_once_another_has_its_phase(tmp_path: Path, phase: str):
    async with pair(tmp_path, streams=STREAMS, settings=LONG) as world:
        world.engines["d0"].die()
        await world.bereft(STREAMS)
        later = [asyncio.create_task(stream(world.router, COMPLETION)) for _ in range(STREAMS)]
        whole = [asyncio.create_task(world.router.post(**COMPLETION)) for _ in range(STREAMS)]
        await world.bereft(3 * STREAMS)
        assert await world.metric("thunder_bereft") == f"thunder_bereft {3.0 * STREAMS}"
        await world.replan(phase)
        for events in await asyncio.gather(*world.streams, *later):
            assert_one_answer(events)
        for status, answer in await asyncio.gather(*whole):
            assert (status, answer["usage"]["completion_tokens"]) == (200, COMPLETION["max_tokens"])
        seen = await world.router.observed()
    assert (seen["requests"], seen["bereft"], seen["in_flight"]) == ({"ok": 3 * STREAMS}, 0, {"2": 0})
    assert len(world.engines["p0"].decodes) == 3 * STREAMS  # each once


async def test_where_no_other_plan_comes_all_end_in_an_explicit_error_within_the_bound(tmp_path: Path):
    async with pair(tmp_path, settings=SHORT) as world:
        world.engines["d0"].die()
        async with world.router.http.post(f"{world.router.url}/v1/completions", json=COMPLETION) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "1")
            assert "tried d0 (it waited 0.2 s for one)." in (await response.json())["error"]["message"]
        (*_, error) = await world.streams[0]
        assert "no other decode replica is up (it waited 0.2 s for one)" in error["error"]["message"]
        seen = await world.router.observed()
    assert (seen["requests"], seen["bereft"]) == ({"interrupted": 1, "unavailable": 1}, 0)


async def test_what_waits_is_at_no_replica(tmp_path: Path):
    """Whoever drains the one that died, or the one that only has its KV, does not wait for it."""
    async with pair(tmp_path, settings=LONG) as world:
        world.engines["d0"].die()
        asking = asyncio.create_task(world.router.post(**COMPLETION))
        await world.bereft(2)
        assert (await world.router.observed())["in_flight_at"] == {}
        await world.replan()
        assert (await asking)[0] == 200


async def test_a_client_that_goes_away_is_waited_for_no_more(tmp_path: Path):
    async with pair(tmp_path, settings=LONG) as world:
        world.engines["d0"].die()
        asking = asyncio.create_task(world.router.post(**COMPLETION))
        await world.bereft(2)
        for gone in (asking, *world.streams):
            gone.cancel()
        await world.bereft(0)
        assert (await world.router.observed())["admitted"] == 0


async def test_a_request_waits_no_longer_than_its_deadline(tmp_path: Path):
    async with pair(tmp_path, settings=LONG) as world:
        world.engines["d0"].die()
        headers = {"X-Request-Deadline-S": "0.2"}
        async with world.router.http.post(
            f"{world.router.url}/v1/completions", json=COMPLETION, headers=headers
        ) as response:
            assert response.status == 504
        await world.bereft(1)


async def test_no_more_wait_than_may_wait_for_room(tmp_path: Path):
    async with pair(tmp_path, settings=replace(LONG, max_queued=1)) as world:
        world.engines["d0"].die()
        await world.bereft(1)
        assert (await world.router.post(**COMPLETION))[0] == 503
        await world.replan()
        assert_one_answer(await world.streams[0])


async def test_nobody_waits_for_a_plan_once_nobody_is_let_in(tmp_path: Path):
    """Every machine is to go: no plan comes after it."""
    async with pair(tmp_path, settings=LONG) as world:
        world.engines["d0"].die()
        asking = asyncio.create_task(world.router.post(**COMPLETION))
        await world.bereft(2)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with world.router.http.put(f"{world.router.url}/admin/closed", headers=headers) as response:
            assert response.status == 200
        assert (await asking)[0] == 503
        assert "error" in (await world.streams[0])[-1]


async def test_another_model_has_nobody_for_what_waits(tmp_path: Path):
    async with pair(tmp_path, settings=LONG) as world:
        world.engines["d0"].die()
        await world.bereft(1)
        await world.replan(model="another")
        assert "no other decode replica is up" in (await world.streams[0])[-1]["error"]["message"]


async def test_a_plan_that_still_has_the_dead_one_alone_is_not_taken(tmp_path: Path):
    async with pair(tmp_path, settings=LONG) as world:
        world.engines["d0"].die()
        await world.bereft(1)
        assert (await world.router.put(routes_document(world.engines, PAIR, epoch=2)))[0] == 200
        await world.bereft(1)
        await world.replan()
        assert_one_answer(await world.streams[0])


async def test_a_request_that_a_well_replica_fails_does_not_wait(tmp_path: Path):
    """Another plan would give it to the same one. The engine says what is wrong with the request, and lives."""
    engine = TokenEngine("d0", break_after=4, dies_aloud=True)
    async with (
        serving(engine),
        routing(tmp_path, routes_document({"d0": engine}, ALONE["d0"]), settings=LONG) as router,
    ):
        engine.status = 500
        assert (await router.post(**COMPLETION))[0] == 503
        engine.status = 200
        assert "no other decode replica is up." in json.dumps(await stream(router, COMPLETION))


async def test_an_engine_that_says_so_as_it_dies_is_known_to_be_down(tmp_path: Path):
    engines = {"p0": TokenEngine("p0"), "d0": TokenEngine("d0", break_after=4, dies_aloud=True, healthy=False)}
    async with (
        serving(*engines.values()),
        routing(tmp_path, routes_document(engines, PAIR), settings=LONG) as router,
    ):
        world = Pair(router, engines, [asyncio.create_task(stream(router, COMPLETION))])
        await world.bereft(1)
        await world.replan()
        assert_one_answer(await world.streams[0])


async def test_a_replica_that_comes_back_takes_what_waited_for_it(tmp_path: Path):
    """It has no other: the first probe that succeeds lets it in again, though by the clock it is to be out."""
    engine, clock = TokenEngine("d0", break_after=4, healthy=False), Clock()
    options = {"probing": True, "settings": replace(LONG, probe_every_s=0.01), "now": clock}
    async with (
        serving(engine),
        routing(tmp_path, routes_document({"d0": engine}, ALONE["d0"]), **options) as router,
    ):
        asking = asyncio.create_task(stream(router, COMPLETION))
        await Pair(router, {}, []).bereft(1)
        clock.seconds += FIRST_EJECTION_S / 2
        engine.break_after, engine.healthy = None, True
        assert_one_answer(await asking)
    assert len(engine.seen) == 2


async def test_a_replica_that_another_plan_has_elsewhere_takes_what_waited(tmp_path: Path):
    """Under the same id: what is known of the one that died is not held against it, from the next probe on."""
    engines, fresh = {"d0": TokenEngine("d0", break_after=4, healthy=False)}, TokenEngine("d0")
    options = {"probing": True, "settings": replace(LONG, probe_every_s=0.01), "now": Clock()}
    async with (
        serving(*engines.values(), fresh),
        routing(tmp_path, routes_document(engines, ALONE["d0"]), **options) as router,
    ):
        asking = asyncio.create_task(stream(router, COMPLETION))
        await Pair(router, {}, []).bereft(1)
        assert (await router.put(routes_document({"d0": fresh}, ALONE["d0"], epoch=2)))[0] == 200
        assert_one_answer(await asking)
