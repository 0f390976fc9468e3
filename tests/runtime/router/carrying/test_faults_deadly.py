"""A request that its replicas die of takes down two, and no more."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from runtime.agent.proxy import INTERIM, TICKET
from runtime.router.legs.transfer import CACHED
from runtime.router.settings import RouterSettings
from tests.fakes import FakeEngine, serving
from tests.runtime.router.carrying.test_faults import ask
from tests.runtime.router.replay.test_replay import COMPLETION, assert_one_answer, stream
from tests.runtime.routing import behind_agents, routes_document, routing, soon
from tests.runtime.token_engine import TokenEngine, prompt_ids

POISON = {**COMPLETION, "prompt": "poison"}
BOTH_WAYS = pytest.mark.parametrize("streamed", [False, True])


@dataclass
class Mortal(TokenEngine):
    """Dies of one prompt: before it answers, or after `dies_after` events of a stream."""

    dies_after: int | None = None

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if bytes(i for i in prompt_ids(body) if i < 256) == b"poison":
            self.break_after, self.healthy = self.dies_after, False
            self.break_next = self.dies_after is None
        return await super()._answer(request, body)


def dead(engines: dict[str, FakeEngine]) -> int:
    return sum(not engine.healthy for engine in engines.values())


def pairs(count: int) -> list[tuple[str, str, float, str]]:
    """As many prefill as decode replicas, each paired with each."""
    return [(f"p{i}", f"d{j}", 1 / count**2, "int4") for i in range(count) for j in range(count)]


@BOTH_WAYS
@pytest.mark.parametrize("deadly", ["p", "d", "pd"])
async def test_a_request_that_kills_what_computes_it_kills_two(tmp_path: Path, streamed: bool, deadly: str):
    engines = {
        f"{kind}{i}": Mortal(f"{kind}{i}") if kind in deadly else FakeEngine(f"{kind}{i}")
        for kind in "pd"
        for i in range(4)
    }
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, pairs(4))) as router:
        async with router.http.post(f"{router.url}/v1/completions", json={**POISON, "stream": streamed}) as response:
            assert (response.status, response.headers["x-should-retry"]) == (500, "false")
            error = (await response.json())["error"]
        seen = await router.observed()
    assert error["code"] == "replicas_died"
    assert "died with this request" in error["message"]
    assert dead(engines) == 2
    assert seen["requests"] == {"failed": 1}


async def test_a_stream_that_kills_what_continues_it_kills_two(tmp_path: Path):
    engines = {"p0": FakeEngine("p0"), **{f"d{i}": Mortal(f"d{i}", dies_after=3) for i in range(4)}}
    routes = [("p0", f"d{i}", 0.25, "int4") for i in range(4)]
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, routes)) as router:
        events = await stream(router, POISON)
    assert "died with this request" in events[-1]["error"]["message"]
    assert dead(engines) == 2


async def test_a_stream_that_outlives_its_replicas_is_not_what_they_died_of(tmp_path: Path, monkeypatch):
    """Spot instances that go one after another, each long after the stream came to it."""
    monkeypatch.setattr("runtime.router.carrying.deadly.SOON_S", 0.0)
    engines = {f"d{i}": Mortal(f"d{i}", dies_after=3) for i in range(2)} | {"d2": TokenEngine("d2")}
    routes = [("d0", "d0", 0.9, "local"), ("d1", "d1", 0.09, "local"), ("d2", "d2", 0.01, "local")]
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, routes)) as router:
        assert_one_answer(await stream(router, POISON))
    assert dead(engines) == 2


async def test_what_is_not_begun_kills_no_more_however_long_it_took(tmp_path: Path, monkeypatch):
    """Nothing else bounds how many replicas it is tried on."""
    monkeypatch.setattr("runtime.router.carrying.deadly.SOON_S", 0.0)
    engines = {f"{kind}{i}": Mortal(f"{kind}{i}") for kind in "pd" for i in range(4)}
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, pairs(4))) as router:
        assert (await router.post(**POISON))[0] == 500
    assert dead(engines) == 2


@dataclass
class OnMachine(FakeEngine):
    """Behind an agent of a machine: it goes when the others there do, though nothing is wrong with it."""

    early: bool = False
    request: web.Request | None = None

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        self.request = request
        if self.early:
            ticket = self._ticket(request) | {CACHED: 0}
            request.transport.write(INTERIM % (TICKET.encode(), json.dumps(ticket).encode()))
        return await super()._complete(request)

    def die(self) -> None:
        self.healthy = False
        self.request.transport.abort()


CROSSED = [("p0", "d0", 0.9, "int4"), ("p1", "d1", 0.1, "int4")]


@BOTH_WAYS
@pytest.mark.parametrize("first", ["p0", "d0"])
async def test_a_machine_that_takes_both_legs_with_it_dies_once(tmp_path: Path, streamed: bool, first: str):
    names = ("p0", "d0", "p1", "d1")
    engines = {name: OnMachine(name, early=name[0] == "p", hang=name[1] == "0") for name in names}
    async with behind_agents(tmp_path, engines, CROSSED) as router:
        asking = asyncio.create_task(ask(router, streamed))
        await soon(engines["d0"].arrived)
        for name in sorted(("p0", "d0"), key=first.__ne__):
            engines[name].die()
        assert await asking == " d11 d12 d13"


async def test_another_request_goes_on_after_two_died(tmp_path: Path):
    engines = {"p0": FakeEngine("p0"), **{f"d{i}": Mortal(f"d{i}") for i in range(4)}}
    routes = [("p0", f"d{i}", 0.25, "int4") for i in range(4)]
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, routes)) as router:
        assert (await router.post(**POISON))[0] == 500
        assert (await router.post(**COMPLETION))[0] == 200


async def test_replicas_that_are_not_there_are_passed_over_however_many(tmp_path: Path):
    engines = {f"d{i}": TokenEngine(f"d{i}") for i in range(5)}
    async with serving(*engines.values()):
        document = routes_document(engines, [(f"d{i}", f"d{i}", 0.2, "local") for i in range(5)])
        for replica in document["replicas"][:4]:
            replica["url"] = "http://127.0.0.1:9"
        async with routing(tmp_path, document) as router:
            assert_one_answer(await stream(router, COMPLETION))


async def test_replicas_that_fail_and_live_are_passed_over(tmp_path: Path):
    """What broke off may have been the line: they say that they are well."""
    engines = {f"d{i}": TokenEngine(f"d{i}", break_after=4 - i) for i in range(4)}
    engines["d4"] = TokenEngine("d4")
    routes = [(f"d{i}", f"d{i}", 0.2, "local") for i in range(5)]
    settings = RouterSettings(moves=9)
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, routes), settings=settings) as r:
        assert_one_answer(await stream(r, COMPLETION))
