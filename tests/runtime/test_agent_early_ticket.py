"""An agent says a ticket as soon as it is reserved, to whoever waits for the request's answer."""

import asyncio
import json

import pytest

from planner.deployment import Codec, Phase
from runtime.engine import CONNECTOR_SOCKET
from runtime.messages import ReplicaAddress, agent_name
from runtime.relay.door import AgentDoor
from runtime.relay.ticket import Ticket, format_json
from runtime.router.engines.upstream import Upstream
from runtime.router.legs.transfer import CACHED, read_early_ticket
from runtime.router.settings import RouterSettings
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import Geometry
from runtime.tls import client_context
from tests.runtime.supervising import spec_of
from tests.runtime.test_agent import INSTANCE, Running, agent, credentials, exists  # noqa: F401 (fixtures)

FORMAT = KvFormat(Geometry(4, 2, 64, "float16"), 200, Codec.INT4, boundary_layers=1)


class Engine:
    """The connector of an engine of one rank, at its agent's door."""

    def __init__(self, folder):
        path = str(folder / CONNECTOR_SOCKET)
        self._doors = [AgentDoor(path, owner="e", rank=rank, replica="r0") for rank in (None, 0)]

    async def open(self):
        for door in self._doors:
            await asyncio.to_thread(door.open)
            await asyncio.to_thread(door.call, "note", {"what": "here"}, timeout_s=5)
        return self

    async def reserve(self, **fields):
        fields |= {"format": format_json(FORMAT), "binding": "b", "ranks": 1, "readers": 1}
        answer = await asyncio.to_thread(self._doors[0].call, "reserve", fields, timeout_s=5)
        return answer["ticket"]

    def close(self):
        for door in self._doors:
            door.close()


@pytest.fixture
async def engine(agent: Running):  # noqa: F811
    await agent.start(spec_of())
    await agent.until_ready()
    engine = await Engine(agent.folder).open()
    yield engine
    engine.close()


async def asked(agent: Running, heard: "asyncio.Queue[dict]", path: str):  # noqa: F811
    """What a router hears of a prefill leg, until it is cancelled."""
    address = ReplicaAddress("r0", Phase.PREFILL, f"{agent.url}/r/r0", server_name=agent_name(INSTANCE))
    async with Upstream(RouterSettings(), client_context(agent.credentials / "router")) as upstream:
        headers = {"X-Request-Id": "abc", "Content-Type": "application/json"}
        leg = upstream.post(address, path, b"{}", headers, answer_s=30, on_interim=heard.put_nowait)
        async with leg as answer:
            return answer.status


async def test_a_ticket_is_said_while_its_prompt_is_computed(agent: Running, engine: Engine):  # noqa: F811
    heard = asyncio.Queue()
    leg = asyncio.create_task(asked(agent, heard, "/mute"))
    await exists(agent.folder / "run" / "asked")
    await engine.reserve(request="cmpl-another-0-0123abcd", cached=0)
    await engine.reserve()  # of one that asked for no stream
    ticket = await engine.reserve(request="cmpl-abc-0-0123abcd", cached=64)
    async with asyncio.timeout(5):
        said, cached = read_early_ticket(await heard.get())
    assert json.loads(said) == ticket | {CACHED: 64}
    assert cached == 64
    assert Ticket.from_json(json.loads(said)).format == FORMAT
    assert heard.empty()
    assert not leg.done()
    leg.cancel()
    await asyncio.gather(leg, return_exceptions=True)


async def test_an_answer_that_has_begun_is_not_interrupted_by_a_ticket(agent: Running, engine: Engine):  # noqa: F811
    async with agent.call(
        "POST", "/r/r0/endless", who="router", data=b"{}", headers={"X-Request-Id": "abc"}
    ) as response:
        await response.content.readexactly(4)
        await engine.reserve(request="cmpl-abc-0-0123abcd", cached=0)
        assert await response.content.readexactly(40) == (b"tick\n" * 9)[4:44]
        response.close()


async def test_a_ticket_that_could_be_of_two_requests_is_said_to_neither(agent: Running, engine: Engine):  # noqa: F811
    heard, asked_file = asyncio.Queue(), agent.folder / "run" / "asked"
    legs = [asyncio.create_task(asked(agent, heard, "/mute")) for _ in range(2)]
    await exists(asked_file)
    async with asyncio.timeout(5):
        while len(asked_file.read_text()) < 2:
            await asyncio.sleep(0.01)
    await engine.reserve(request="cmpl-abc-0-0123abcd", cached=0)
    legs.pop().cancel()
    await exists(agent.folder / "run" / "caller-gone")
    told = await engine.reserve(request="cmpl-abc-0-0123abcd", cached=0)
    async with asyncio.timeout(5):
        said, _ = read_early_ticket(await heard.get())
    assert json.loads(said)["ticket"] == told["ticket"]
    legs[0].cancel()
    await asyncio.gather(*legs, return_exceptions=True)
