"""Many requests at once, to replicas behind the ports of their agents: nobody who is well is taken for dead."""

import asyncio
import contextlib
import json
import socket
from collections import Counter
from pathlib import Path

import aiohttp
from aiohttp import web

from runtime.messages import ROUTER_NAME, agent_name
from runtime.relay.port import SharedPort
from runtime.relay.pulls import PullServer
from runtime.relay.relay import Relay
from runtime.tls import client_context, server_context
from tests.runtime.routing import Running, routes_document, routing
from tests.runtime.token_engine import SCRIPT, TokenEngine
from thunderctl.keys.certificates import ensure_authority, issue

AT_ONCE = 300
NAMES = ("p0", "p1", "d0", "d1")
PAIRS = [(prefill, decode, 0.25, "int4") for prefill in ("p0", "p1") for decode in ("d0", "d1")]
SAID = b"".join(SCRIPT).decode()


class Waiting(TokenEngine):
    """It says all but its last token, and that when it is released."""

    async def _stream(self, request: web.Request, body: dict) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        *first, last = self._documents(body)
        for document in [*first, None, last]:
            if document is None:
                await self.released.wait()
            else:
                await response.write(f"data: {json.dumps(document, separators=(',', ':'))}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


class Agent:
    """An agent's port, as agents have it, and behind it an engine's application."""

    def __init__(self, folder: Path, engine: TokenEngine):
        self._tls, self._engine = folder / engine.name, engine

    async def start(self):
        name, listener = agent_name(self._engine.name), socket.create_server(("127.0.0.1", 0))
        at, context = listener.getsockname(), server_context(self._tls)
        relay = Relay(agent_name=name, advertise=at, pool_bytes=1 << 20, ssl_context=client_context(self._tls))
        self._runner = web.AppRunner(self._engine.app(), handler_cancellation=True, shutdown_timeout=0.01)
        await self._runner.setup()
        self._shared = SharedPort(listener, self._runner, PullServer(relay, context), context)
        await self._shared.start()
        self._engine.url = f"https://127.0.0.1:{at[1]}"

    async def die(self):
        await self._shared.close()
        await self._runner.cleanup()


@contextlib.asynccontextmanager
async def world(folder: Path, engines: dict[str, TokenEngine]):
    """A router, and the agents before these engines, each of which can be killed."""
    ensure_authority(folder / "ca")
    issue(folder / "ca", ROUTER_NAME, folder / "router")
    agents = {}
    for name, engine in engines.items():
        issue(folder / "ca", agent_name(name), folder / name)
        agents[name] = Agent(folder, engine)
        await agents[name].start()
    document = routes_document(engines, PAIRS)
    for replica in document["replicas"]:
        replica["server_name"] = agent_name(replica["id"])
    async with routing(folder, document, tls=client_context(folder / "router")) as router:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as http:
            yield Running(router.url, http, router.path), agents
    for agent in agents.values():
        await agent.die()


async def asked(router: Running, number: int, begun: list[int]) -> str:
    """What became of a request, in words."""
    body = {"prompt": f"hello {number}", "max_tokens": 100, "stream": True}
    async with router.http.post(f"{router.url}/v1/completions", json=body) as response:
        if response.status != 200:
            return f"{response.status} {await response.text()}"
        begun.append(number)
        lines = [line[6:] for line in (await response.text()).split("\n\n") if line]
    if lines[-1] != "[DONE]" or any('"error"' in line for line in lines):
        return f"broken off: {lines[-2:]}"
    return "".join(choice["text"] for line in lines[:-1] for choice in json.loads(line)["choices"])


async def test_three_hundred_requests_at_once_are_all_answered(tmp_path: Path):
    engines = {name: TokenEngine(name) for name in NAMES}
    async with world(tmp_path, engines) as (router, _):
        said = await asyncio.gather(*(asked(router, number, []) for number in range(AT_ONCE)))
        assert Counter(said) == {SAID: AT_ONCE}
        assert all(replica["healthy"] for replica in (await router.observed())["replicas"])


async def test_an_agent_that_dies_with_half_of_three_hundred_streams_breaks_none_off(tmp_path: Path):
    engines = {name: Waiting(name) for name in NAMES}
    async with world(tmp_path, engines) as (router, agents):
        begun: list[int] = []
        tasks = [asyncio.create_task(asked(router, number, begun)) for number in range(AT_ONCE)]
        async with asyncio.timeout(60):
            while len(begun) < AT_ONCE:
                await asyncio.sleep(0.05)
        await agents["d0"].die()
        for engine in engines.values():
            engine.released.set()
        assert Counter(await asyncio.gather(*tasks)) == {SAID: AT_ONCE}
        assert {replica["id"]: replica["healthy"] for replica in (await router.observed())["replicas"]} == {
            "p0": True,
            "p1": True,
            "d0": False,
            "d1": True,
        }
