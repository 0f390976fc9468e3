"""Row 18: a client that goes away takes its legs with it and has its ticket dropped within a second, at every stage."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from runtime.router.settings import RouterSettings
from tests.runtime.routing import MESSAGES, PAIR, Running, behind_agents, soon
from tests.runtime.token_engine import TokenEngine, prompt_ids

WITHIN_S = 1.0
TICKET = {"do_remote_prefill": True, "capability": "c"}
THREE = [*PAIR, ("p0", "d1", 1e-6, "int4")]
BOTH_WAYS = pytest.mark.parametrize("streamed", [False, True])


@dataclass
class Engine(TokenEngine):
    """`hang_at` names what it never answers: a `rest` (of a stream that another began), or `detokenize`."""

    hang_at: str = ""
    hanging: asyncio.Event = field(default_factory=asyncio.Event)

    async def _answer(self, request: web.Request, body: dict) -> web.StreamResponse:
        if self.hang_at == "rest" and prompt_ids(body)[-1] >= 1000:
            await self._hang()
        return await super()._answer(request, body)

    async def _detokenize(self, request: web.Request) -> web.Response:
        if self.hang_at == "detokenize":
            await self._hang()
        return await super()._detokenize(request)

    async def _hang(self) -> None:
        self.hanging.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


def world(**d0) -> dict[str, Engine]:
    return {"p0": Engine("p0"), "d0": Engine("d0", **d0), "d1": Engine("d1")}


@asynccontextmanager
async def asking(router: Running, *, streamed: bool) -> AsyncIterator[asyncio.Event]:
    """A client that leaves at the end of the block, and is forgotten in time. The event: an answer has begun."""
    begun = asyncio.Event()

    async def ask(http: aiohttp.ClientSession) -> None:
        body = {"messages": MESSAGES, "stream": streamed}
        async with http.post(f"{router.url}/v1/chat/completions", json=body) as response:
            await response.content.readany()
            begun.set()
            await response.read()

    async with aiohttp.ClientSession() as http:
        task = asyncio.create_task(ask(http))
        yield begun
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(WITHIN_S):
        while (await router.observed())["in_flight_at"] or not (await router.observed())["requests"]:
            await asyncio.sleep(0)
    assert (await router.observed())["requests"] == {"cancelled": 1}


async def dropped(engine: Engine, ticket: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not engine.dropped:
            await asyncio.sleep(0)
    assert engine.dropped[-1] == {**TICKET, "ticket": ticket}


async def left(engine: Engine) -> None:
    """The engine hears of it."""
    async with asyncio.timeout(WITHIN_S):
        await engine.cancelled.wait()


@BOTH_WAYS
async def test_while_it_waits_for_room(tmp_path: Path, streamed: bool):
    engines = world(hang=True)
    async with behind_agents(tmp_path, engines, PAIR, settings=RouterSettings(max_in_flight=1)) as router:
        first = asyncio.create_task(router.post(prompt="hi"))
        await soon(engines["d0"].arrived)
        async with aiohttp.ClientSession() as http:
            body = {"prompt": "hi", "stream": streamed}
            second = asyncio.create_task(http.post(f"{router.url}/v1/completions", json=body).__aenter__())
            while (await router.observed())["queued"] == 0:
                await asyncio.sleep(0)
            second.cancel()
        async with asyncio.timeout(WITHIN_S):
            while (await router.observed())["queued"]:
                await asyncio.sleep(0)
        engines["d0"].released.set()
        assert (await first)[0] == 200
    assert [len(engines[name].seen) for name in ("p0", "d0")] == [1, 1]


@BOTH_WAYS
async def test_during_prefill(tmp_path: Path, streamed: bool):
    """There is no ticket yet."""
    engines = world()
    engines["p0"].hang = True
    async with behind_agents(tmp_path, engines, PAIR) as router:
        async with asking(router, streamed=streamed):
            await soon(engines["p0"].arrived)
        await left(engines["p0"])
    assert engines["d0"].seen == []


@BOTH_WAYS
async def test_between_prefill_and_decode(tmp_path: Path, streamed: bool):
    """The ticket is there, and the decode replica's machine takes the connection and says nothing."""
    engines = world()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        await _leaves_between(tmp_path, engines, mute.getsockname()[1], streamed=streamed)


async def _leaves_between(folder: Path, engines: dict[str, Engine], port: int, *, streamed: bool) -> None:
    async with behind_agents(folder, engines, PAIR) as router:
        document = json.loads(router.path.read_text())
        document["replicas"][1]["url"] = f"https://127.0.0.1:{port}"
        assert (await router.put({**document, "epoch": 2}))[0] == 200
        async with asking(router, streamed=streamed):
            while engines["p0"].seen == [] or (await router.observed())["in_flight_at"] != {"d0": 1}:
                await asyncio.sleep(0)
        await dropped(engines["p0"], "p0-1")


@BOTH_WAYS
async def test_before_the_first_byte(tmp_path: Path, streamed: bool):
    engines = world(hang=True)
    async with behind_agents(tmp_path, engines, PAIR) as router:
        async with asking(router, streamed=streamed):
            await soon(engines["d0"].arrived)
        await left(engines["d0"])
        await dropped(engines["p0"], "p0-1")


async def test_in_the_middle_of_a_stream(tmp_path: Path):
    engines = world(break_after=3, drip=True)
    async with behind_agents(tmp_path, engines, PAIR) as router:
        async with asking(router, streamed=True) as begun:
            await soon(begun)
        await left(engines["d0"])
        await dropped(engines["p0"], "p0-1")


@pytest.mark.parametrize(
    ("hanging", "at", "ticket"),
    [("d1", "detokenize", "p0-1"), ("p0", "rest", "p0-1"), ("d1", "rest", "p0-2")],
    ids=["reading back", "prefill of the rest", "decode of the rest"],
)
async def test_while_another_takes_it_up(tmp_path: Path, hanging: str, at: str, ticket: str):
    engines = world(break_after=4)
    engines[hanging].hang_at = at
    async with behind_agents(tmp_path, engines, THREE) as router:
        async with asking(router, streamed=True):
            await soon(engines[hanging].hanging)
        await left(engines[hanging])
        await dropped(engines["p0"], ticket)
