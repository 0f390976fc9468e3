"""Rows of the kill matrix that the tests of single faults leave open; each streamed and not."""

import asyncio
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import openai
import psutil
import pytest
from aiohttp import web

from benchmarks.counting_engine import start_engine
from benchmarks.router_process import RouterProcess, mock_router
from benchmarks.router_soak_load import answer
from runtime.router.settings import RouterSettings
from tests.fakes import FakeEngine, serving
from tests.runtime.router.carrying.test_faults import SQUARE, ask
from tests.runtime.routing import PAIR, routes_document, routing, soon

BOTH_WAYS = pytest.mark.parametrize("streamed", [False, True])
STEP_S = 0.02
SECONDS = 10.0
"""What "in seconds" is allowed to be on a machine that is busy with other tests."""


@BOTH_WAYS
async def test_prefill_dies_after_the_transfer(tmp_path: Path, streamed: bool):
    """Row 6: nothing happens to the request."""
    prefill, decode = FakeEngine("p"), FakeEngine("d", hang=True)
    async with serving(decode), AsyncExitStack() as beside:
        async with serving(prefill):
            document = routes_document({"p0": prefill, "d0": decode}, PAIR)
            router = await beside.enter_async_context(routing(tmp_path, document))
            asking = asyncio.create_task(ask(router, streamed))
            await soon(decode.arrived)
        decode.released.set()
        assert await asking == " d1 d2 d3"


@BOTH_WAYS
async def test_no_prefill_replica_is_there(tmp_path: Path, streamed: bool):
    """Row 8: decode prefills by itself, and after the first refused connections nobody asks again."""
    engines = {name: FakeEngine(name) for name in ("p0", "p1", "d0", "d1")}
    async with serving(*engines.values()):
        document = routes_document(engines, SQUARE)
        for replica in document["replicas"][:2]:
            replica["url"] = "http://127.0.0.1:9"
        async with routing(tmp_path, document) as router:
            for _ in range(4):
                assert (await ask(router, streamed)).endswith("3")
            seen = await router.observed()
    assert [replica["id"] for replica in seen["replicas"] if not replica["healthy"]] == ["p0", "p1"]
    assert seen["requests"] == {"ok": 4}


@dataclass
class TooLate(FakeEngine):
    """Finds every ticket expired: it computes the prompt itself, or refuses, as its turn for that is far off."""

    refuses: bool = False
    computed: list[str] = field(default_factory=list)

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        ticket = body["kv_transfer_params"]["ticket"]
        if self.refuses:
            said = {"message": "It lacks the prompt's KV, and can't compute it soon.", "type": "replica_unavailable"}
            return web.json_response({"error": said}, status=503)
        self.computed.append(ticket)
        return await super()._answer(request, body)


@BOTH_WAYS
@pytest.mark.parametrize("refusing", [set(), {"d0"}, {"d0", "d1"}])
async def test_a_ticket_has_expired_when_it_is_come_for(tmp_path: Path, streamed: bool, refusing: set[str]):
    """Row 15: a decode replica computes the prompt, the next one where its turn is far off; nobody is ejected.

    Where none would, the prompt is prefilled once more, and only once.
    """
    prefill = FakeEngine("p0")
    decodes = {name: TooLate(name, refuses=name in refusing) for name in ("d0", "d1")}
    routes = [("p0", "d0", 0.9, "int4"), ("p0", "d1", 0.1, "int4")]
    async with (
        serving(prefill, *decodes.values()),
        routing(tmp_path, routes_document({"p0": prefill, **decodes}, routes)) as router,
    ):
        if left := sorted(decodes.keys() - refusing):
            assert await ask(router, streamed) == f" {left[0]}1 {left[0]}2 {left[0]}3"
        else:
            with pytest.raises(openai.InternalServerError, match="No decode replica could answer") as caught:
                await ask(router, streamed)
            assert caught.value.response.headers["Retry-After"] == "1"
        seen = await router.observed()
    assert {name: engine.computed for name, engine in decodes.items() if engine.computed} == {
        name: ["p0-1"] for name in left[:1]
    }
    assert len(prefill.seen) == (1 if left else 2)
    assert [len(engine.seen) for engine in decodes.values()] == ([2, 2] if not left else [1, len(refusing)])
    assert all(replica["healthy"] for replica in seen["replicas"])
    assert seen["requests"] == {"ok" if left else "unavailable": 1}


@dataclass
class Spends(FakeEngine):
    """Reads the KV of each ticket that comes; KV that was read before, by any, it lacks."""

    read: set[str] = field(default_factory=set)

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        ticket = body["kv_transfer_params"]["ticket"]
        if ticket in self.read:
            return web.json_response({"error": {"message": "lacks KV", "type": "replica_unavailable"}}, status=503)
        self.read.add(ticket)
        return await super()._answer(request, body)


@BOTH_WAYS
async def test_what_had_read_the_kv_dies_and_the_prompt_is_prefilled_once_more(tmp_path: Path, streamed: bool):
    """Row 15: prefill is well, so that spent KV is no reason to refuse a request."""
    spent: set[str] = set()
    prefill = FakeEngine("p0")
    decodes = {"d0": Spends("d0", break_next=True, read=spent), "d1": Spends("d1", read=spent)}
    routes = [("p0", "d0", 0.9, "int4"), ("p0", "d1", 0.1, "int4")]
    async with (
        serving(prefill, *decodes.values()),
        routing(tmp_path, routes_document({"p0": prefill, **decodes}, routes)) as router,
    ):
        assert await ask(router, streamed) == " d11 d12 d13"
    assert [seen.transfer["ticket"] for seen in decodes["d1"].seen] == ["p0-1", "p0-2"]


@pytest.mark.parametrize(("hung", "streamed"), [("p0", False), ("p0", True), ("d0", True)])
async def test_an_engine_takes_the_request_and_says_nothing(tmp_path: Path, streamed: bool, hung: str):
    """Row 17: its time is up and another one answers. It says that it is well: it may only have much to do."""
    engines = {name: FakeEngine(name) for name in ("p0", "p1", "d0", "d1")}
    engines[hung].hang = True
    settings = RouterSettings(prefill_s=0.3, first_byte_s=0.3)
    async with (
        serving(*engines.values()),
        routing(tmp_path, routes_document(engines, SQUARE), settings=settings) as router,
    ):
        assert (await ask(router, streamed)).endswith("3")
        seen = await router.observed()
    assert all(replica["healthy"] for replica in seen["replicas"])
    await soon(engines[hung].cancelled)


@pytest.fixture
def engine():
    started = start_engine(step_s=STEP_S)
    yield started
    started.kill()


def over(engine):
    return mock_router({"p0": engine.port, "d0": engine.port}, max_in_flight=100)


async def begun(http: aiohttp.ClientSession, router: RouterProcess, *, streamed: bool) -> asyncio.Task:
    """A long request that an engine is at."""
    body = {"prompt": "1000", "max_tokens": 100_000, "stream": streamed}
    asking = asyncio.create_task(answer(http, router.url, body))
    async with asyncio.timeout(SECONDS):
        while True:
            async with http.get(f"{router.url}/metrics") as response:
                if 'thunder_in_flight{replica="d0"} 1.0' in await response.text():
                    return asking


@BOTH_WAYS
@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGKILL])
async def test_a_router_is_restarted(engine, streamed: bool, told: signal.Signals):
    """Row 9: what is under way ends in an error, another router serves in seconds, and the engines never notice."""
    async with aiohttp.ClientSession() as http:
        with over(engine) as router:
            asking = await begun(http, router, streamed=streamed)
            psutil.Process(router.pid).send_signal(told)
            with pytest.raises((aiohttp.ClientError, ValueError)) as caught:
                await asyncio.wait_for(asking, SECONDS)
            if told == signal.SIGTERM:
                assert "The router is stopping" in str(caught.value)
        with over(engine) as router:
            body = {"prompt": "1000", "max_tokens": 3, "stream": streamed}
            assert await asyncio.wait_for(answer(http, router.url, body), SECONDS) == (" 1001 1002 1003", "length")
    assert engine.process.poll() is None
