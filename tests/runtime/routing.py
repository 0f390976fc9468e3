"""A router over fake engines, for the tests of the router."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import openai

from runtime.listening import bound_socket
from runtime.messages import ROUTER_NAME, agent_name
from runtime.router.app import create_app, open_routes
from runtime.router.serving import serving as serving_router
from runtime.router.settings import RouterSettings
from runtime.tls import client_context, server_context
from tests.fakes import FakeEngine, serving
from thunderctl.keys.certificates import ensure_authority, issue

TOKEN = "let-me-in"
MESSAGES = [{"role": "user", "content": "hello"}]
GRACE_S = 2.0
"""What a test leaves under way at its end is not waited for as long as clients are."""
BEREFT_S = 0.1
"""Nor is another plan, where all that decode are down: few tests have one."""
PAIR = [("p0", "d0", 1.0, "int4")]
"""The routes of one prefill and one decode engine."""


@dataclass
class Clock:
    """Time that passes when it is told to."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


def routes_document(
    replicas: dict[str, FakeEngine],
    routes: Sequence[tuple[str, str, float, str]],
    *,
    epoch: int = 1,
    default_max_tokens: int | None = 0,
) -> dict[str, Any]:
    """Replicas are named by phase: p… prefill, d… decode, m… mixed."""
    phases = {"p": "prefill", "d": "decode", "m": "mixed"}
    return {
        "schema": "thunder.routes/v1",
        "epoch": epoch,
        "model": "tiny",
        "replicas": [
            {"id": name, "phase": phases[name[0]], "url": fake.url, "default_max_tokens": default_max_tokens}
            for name, fake in replicas.items()
        ],
        "routes": [dict(zip(("prefill", "decode", "share", "codec"), route, strict=True)) for route in routes],
    }


@dataclass
class Running:
    """A router that serves on loopback."""

    url: str
    http: aiohttp.ClientSession
    path: Path

    @property
    def openai(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    async def observed(self) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with self.http.get(f"{self.url}/admin/observed", headers=headers) as response:
            assert response.status == 200
            found: dict[str, Any] = await response.json()
            return found

    async def put(self, document: Any, token: str = TOKEN) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        async with self.http.put(f"{self.url}/admin/routes", json=document, headers=headers) as response:
            return response.status, await response.json()

    async def post(self, **body: Any) -> tuple[int, dict[str, Any]]:
        async with self.http.post(f"{self.url}/v1/completions", json=body) as response:
            return response.status, await response.json()

    async def events(self, **body: Any) -> list[str]:
        """The data lines of a stream, as text."""
        async with self.http.post(f"{self.url}/v1/completions", json={**body, "stream": True}) as response:
            assert response.content_type == "text/event-stream", await response.text()
            text = (await response.read()).decode()
        return [event for event in text.split("\n\n") if event]


@asynccontextmanager
async def routing(
    folder: Path, document: dict[str, Any], *, probing: bool = False, tls: Any = None, **options: Any
) -> AsyncIterator[Running]:
    """Run a router on `document`. Probing is off, so that only what a test does happens."""
    path = folder / "routes.json"
    path.write_text(json.dumps(document))
    settings = options.pop("settings", RouterSettings())
    if settings.stop_grace_s == RouterSettings().stop_grace_s:
        settings = replace(settings, stop_grace_s=GRACE_S)
    if settings.bereft_s == RouterSettings().bereft_s:
        settings = replace(settings, bereft_s=BEREFT_S)
    table = open_routes(path, tls=tls)
    app = create_app(table, tls=tls, admin_token=TOKEN, probing=probing, settings=settings, **options)
    bound = bound_socket("127.0.0.1", 0)
    async with serving_router(app, bound, last_bytes_s=0.1), aiohttp.ClientSession() as http:
        yield Running(f"http://127.0.0.1:{bound.getsockname()[1]}", http, path)


@asynccontextmanager
async def behind_agents(
    folder: Path, engines: dict[str, FakeEngine], routes: Sequence[tuple[str, str, float, str]], **options: Any
) -> AsyncIterator[Running]:
    """A router on engines that it reaches through their agents, over mutual TLS."""
    ensure_authority(folder / "ca")
    issue(folder / "ca", agent_name("l1"), folder / "agent")
    issue(folder / "ca", ROUTER_NAME, folder / "router")
    async with serving(*engines.values(), ssl_context=server_context(folder / "agent")):
        document = routes_document(engines, routes)
        for replica in document["replicas"]:
            replica["server_name"] = agent_name("l1")
        async with routing(folder, document, tls=client_context(folder / "router"), **options) as router:
            yield router


async def soon(event: asyncio.Event) -> None:
    """It happens, and at once by a person's clock."""
    async with asyncio.timeout(10):
        await event.wait()
