"""An agent that answers nonsense, over real mutual TLS: the controller goes on, says so, and routes around it."""

import asyncio
import gzip
import json
import ssl
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from planner.errors import HostError
from runtime.messages import CONTROLLER_NAME, AgentHealth, EngineHealth, agent_name
from runtime.tls import client_context, server_context
from tests.thunderctl.controller.situations import PLAN
from tests.thunderctl.controller.worlds import ControllerWorld
from thunderctl.controller import contact
from thunderctl.controller.contact import Contact
from thunderctl.keys.certificates import ensure_authority, issue
from thunderctl.processes import agents
from thunderctl.processes.agents import Agents

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

INSTANCES = ("i0", "i1", "i2")
LONGEST = 1 << 20
BUFFERS = 16 << 20
"""What the kernel, TLS and asyncio may hold of what nobody reads."""


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    ensure_authority(folder / "ca")
    for name in (CONTROLLER_NAME, *(agent_name(f"l-{one}") for one in INSTANCES)):
        issue(folder / "ca", name, folder / name)
    return folder


def well(instance: str) -> bytes:
    engines = tuple(EngineHealth(one.id, "ready") for one in PLAN.replicas if one.instances[0] == instance)
    return json.dumps(AgentHealth(instance, "1", engines=engines).to_json()).encode()


def answer(body: bytes, status: str = "200 OK", *more: str, length: int | None = None) -> bytes:
    lines = (f"HTTP/1.1 {status}", "Content-Type: application/json", *more)
    head = "\r\n".join((*lines, f"Content-Length: {len(body) if length is None else length}", "", ""))
    return head.encode() + body


class Agent:
    """One that says what a test wants it to say; `sent` is the most that went to anybody who asked."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.says: Callable[[Agent], Awaitable[None]] | None = None
        self.writer: asyncio.StreamWriter
        self.sent = self.port = 0
        self._tasks: set[asyncio.Task[None] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                if self.says is None:
                    writer.write(answer(well(self.instance)))
                else:
                    self.writer = writer
                    await self.says(self)
                    break
        writer.close()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_for_ever(self, data: bytes, pause_s: float = 0.0) -> None:
        sent = 0
        while not self.writer.is_closing():
            await self.send(data)
            sent += len(data)
            self.sent = max(self.sent, sent)
            await asyncio.sleep(pause_s)

    def stop(self) -> None:
        for task in self._tasks - {None}:
            task.cancel()


@asynccontextmanager
async def deployment(tls, folder):
    """A controller's world whose agents are real servers."""
    made, found = ControllerWorld(folder), {one: Agent(one) for one in INSTANCES}
    made.cloud.machines = {key: replace(one, address="127.0.0.1") for key, one in made.cloud.machines.items()}
    ports = SimpleNamespace(
        transport=lambda machine: SimpleNamespace(get=lambda _: _port(found[machine.provider_id.removeprefix("m-")])),
        let_operator_in=_nobody_keeps_us_out,
    )
    async with AsyncExitStack() as stack:
        for one in found.values():
            context = server_context(tls / agent_name(f"l-{one.instance}"))
            server = await asyncio.start_server(one.serve, "127.0.0.1", 0, ssl=context)
            stack.callback(server.close)
            stack.callback(one.stop)
            one.port = server.sockets[0].getsockname()[1]
        session = await stack.enter_async_context(Agents(client_context(tls / CONTROLLER_NAME)))
        made.contact = Contact(SimpleNamespace(name="d", provisioner=lambda _: ports), session)
        stack.callback(made.contact.close)
        made.again()
        yield made, found["i0"]


async def _port(agent: Agent) -> bytes:
    await asyncio.sleep(0)
    return json.dumps({"port": agent.port}).encode()


async def _nobody_keeps_us_out(*_):
    return None


async def met(made: ControllerWorld) -> None:
    """Every agent has answered a few times. Searches take real time, which the world's clock does not know."""
    answered = 0
    while answered < 4:
        await made.run(2)
        rows = made.store.leases("d")
        views = await made.contact.hear(rows, made.observer.listings.machines)
        answered += all(view.health for view in views)
        await asyncio.sleep(0.01)


def says(data: bytes):
    return lambda agent: agent.send(data)


def for_ever(data: bytes, first: bytes = b"", pause_s: float = 0.0):
    async def say(agent):
        await agent.send(first)
        await agent.send_for_ever(data, pause_s)

    return say


async def is_silent(_):
    await asyncio.sleep(60)


def with_engine(**said) -> bytes:
    return json.dumps(
        {"instance": "i0", "version": "1", "engines": [{"replica": "r0", "state": "failed", **said}]}
    ).encode()


ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
NONSENSE = {
    "no JSON": says(answer(b'{"engines": [')),
    "no text": says(answer(b'{"engines": "\xff\xfe"}')),
    "JSON without end": says(answer(b"[" * 500_000)),
    "another schema": says(answer(b'{"nodes": []}')),
    "a reason that is a number": says(answer(with_engine(detail=5))),
    "a figure that is none": says(answer(with_engine(kv_usage=float("nan")))),
    "a figure beyond all": says(answer(with_engine(pid=10**40))),
    "a name that is a list": says(answer(with_engine(replica=["r0"]))),
    "a web page": says(answer(b"<html>").replace(b"application/json", b"text/html")),
    "HTTP 500": says(answer(b"<h1>oops</h1>", "500 Oops")),
    "an endless refusal": for_ever(PIECE, ENDLESS.replace(b"200 OK", b"500 Oops")),
    "a body without end": for_ever(PIECE, ENDLESS),
    "heads without end": for_ever(b"X-More: " + b"y" * 4000 + b"\r\n", b"HTTP/1.1 200 OK\r\n"),
    "a bomb": says(answer(gzip.compress(b" " * (64 << 20)), "200 OK", "Content-Encoding: gzip")),
    "a byte now and then": for_ever(b" ", answer(b"", length=10**6), 0.01),
    "half a body": says(answer(well("i0")[:10], length=1000)),
    "no HTTP": says(b"\x00\x01SSH-2.0-OpenSSH\r\n\r\n"),
    "nothing": is_silent,
}  # fmt: skip


@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_an_agent_that_answers_nonsense_is_said_and_routed_around_and_comes_back(
    tls, tmp_path, monkeypatch, nonsense
):
    monkeypatch.setattr(contact, "ANSWER_S", 0.4)
    monkeypatch.setattr(agents, "LONGEST_ANSWER", LONGEST)
    async with deployment(tls, tmp_path / "d") as (made, agent):
        await met(made)
        assert made.alerts == ()
        agent.says = NONSENSE[nonsense]
        await made.until(lambda: made.router.replicas == {"r2"}, within_s=60)
        await made.until(lambda: any("r0" in text for text in made.alerts), within_s=60)
        assert not any("bug" in text for text in made.alerts)
        assert all(len(text) < 1000 for text in made.alerts)
        assert agent.sent <= LONGEST + BUFFERS
        agent.says = None
        while made.router.replicas != {"r0", "r1", "r2"}:
            await made.run(2)
            await asyncio.sleep(0.01)


async def test_an_agent_that_sends_us_elsewhere_is_not_followed(tls, tmp_path):
    async with deployment(tls, tmp_path / "d") as (made, agent):
        await met(made)
        asked = []

        async def elsewhere(reader, writer):
            asked.append(await reader.readline())
            writer.close()

        other = await asyncio.start_server(elsewhere, "127.0.0.1", 0)
        port = other.sockets[0].getsockname()[1]
        agent.says = says(answer(b"", "302 Found", f"Location: http://127.0.0.1:{port}/latest/meta-data"))
        await made.until(lambda: made.router.replicas == {"r2"}, within_s=60)
        other.close()
        assert asked == []


async def test_what_an_agent_says_of_a_link_that_can_not_be_meant_is_not_planned_with(tls, tmp_path):
    async with deployment(tls, tmp_path / "d") as (made, agent):
        await met(made)
        link = {"peer": agent_name("l-i1"), "bandwidth_gbit_per_s": 0.0, "latency_ms": -1.0, "age_s": 0.0}
        engines = [{"replica": one, "state": "failed", "detail": "\x1b[31mout of memory\n" * 10**4} for one in ("r0",)]
        engines.append({"replica": "r1", "state": "ready"})
        said = {"instance": "i0", "version": "1", "engines": engines, "links": [link]}

        async def say(agent):
            await agent.send(answer(json.dumps(said).encode()))

        agent.says = say
        await made.until(lambda: made.router.replicas == {"r1", "r2"}, within_s=60)
        await made.until(lambda: made.alerts, within_s=10)
        assert made.alerts == (
            "r0 can't serve: its engine is failed: out of memory. `thunderctl up` mends what it can.",
        )


async def test_a_log_without_end_is_given_up(tls, tmp_path, monkeypatch):
    monkeypatch.setattr(agents, "LONGEST_LOG", LONGEST)
    async with deployment(tls, tmp_path / "d") as (made, agent):
        await met(made)
        agent.says = NONSENSE["a body without end"]
        client = made.contact._clients["l-i0"]
        with pytest.raises(HostError, match="answers more than 1048576 bytes"):
            await client.log("r0", 100)
