"""Two agents move tiles over mutual TLS, and nothing that arrives is believed unchecked."""

import asyncio
import socket
import time

import pytest
from aiohttp import web

from planner.deployment import Codec
from runtime.relay.client import PeerUnreachable
from runtime.relay.relay import Relay
from runtime.relay.server import add_relay_routes
from runtime.relay.tickets import AgentAddress, NotReady, Ticket, TicketFailed, UnknownTicket, WrongCapability
from runtime.tiles import HEADER, BadFrame, Box, Geometry, KvFormat, Layout, seal
from runtime.tls import client_context, server_context
from thunderctl.certificates import ensure_authority, issue

FORMAT = KvFormat(Geometry(4, 2, 64, "float16"), 200, Codec.INT4, boundary_layers=1)
WHOLE = Layout(FORMAT, FORMAT.whole)
POOL = 4 << 20


@pytest.fixture(scope="module")
def credentials(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    ensure_authority(folder / "ca")
    for name in ("p", "d", "imposter"):
        issue(folder / "ca", f"{name}.agent.thunder", folder / name)
    return folder


class Site:
    """An agent's relay and its port. `damage` may change the body of a pull before it goes out."""

    def __init__(self, credentials, tmp_path, name, certificate=None):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.damage = lambda body: body
        self.pulls = 0
        self._context = server_context(credentials / (certificate or name))
        self.relay = Relay(
            agent_name=f"{name}.agent.thunder",
            advertise=("127.0.0.1", self.port),
            pool_bytes=POOL,
            socket_path=str(tmp_path / f"{name}.sock"),
            ssl_context=client_context(credentials / name),
        )

    async def start(self):
        @web.middleware
        async def damaging(request, handler):
            if request.path != "/kv/pull":
                return await handler(request)
            self.pulls += 1
            if self.damage(b"") is None:
                return await handler(request)
            asked = await request.json()
            async with self.relay.reading(asked["ticket"], asked["capability"], 1) as (_, data):
                tiles = [
                    bytes(data[at : at + length])
                    for row in asked["tiles"]
                    for at, length in WHOLE.runs(Box.from_row(row))
                ]
            return web.Response(body=self.damage(b"".join(tiles)))

        app = web.Application(middlewares=[damaging])
        add_relay_routes(app, self.relay)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.SockSite(self._runner, self.listener, ssl_context=self._context).start()
        await self.relay.start()
        return self

    async def stop(self):
        await self.relay.close()
        await self._runner.cleanup()


@pytest.fixture
async def prefill(credentials, tmp_path):
    site = await Site(credentials, tmp_path, "p").start()
    site.damage = lambda _body: None
    yield site
    await site.stop()


@pytest.fixture
async def decode(credentials, tmp_path):
    site = await Site(credentials, tmp_path, "d").start()
    yield site
    await site.stop()


def reserved(site, readers=1):
    return site.relay.reserve(FORMAT, "binding", owner="engine", ranks=1, readers=readers)


def encoded(site, readers=1):
    """A ready ticket whose payloads say where they are from."""
    ticket, region = reserved(site, readers)
    fill(site.relay.pool.view(region), ticket)
    site.relay.encoded(ticket.ticket, 0, 0.0)
    return ticket


def fill(data, ticket):
    for tile, at, length in WHOLE.frames():
        frame = data[at : at + length]
        frame[HEADER.size :] = bytes([tile.layer * 16 + tile.head * 8 + tile.group]) * (length - HEADER.size)
        seal(frame, FORMAT.prefix(tile, ticket.tag))


def expected(ticket, box):
    data = memoryview(bytearray(WHOLE.size))
    fill(data, ticket)
    return b"".join(bytes(data[at : at + length]) for at, length in WHOLE.runs(box))


async def fetch(site, ticket, box=None, timeout_s=5.0):
    region = await site.relay.fetch(ticket, box or FORMAT.whole, timeout_s=timeout_s)
    data = bytes(site.relay.pool.view(region))
    site.relay.release(region)
    return data


@pytest.mark.parametrize("box", [FORMAT.whole, Box((1, 3), (1, 2), (0, 4)), Box((0, 4), (0, 2), (2, 4))])
async def test_a_rank_gets_its_own_tiles_and_no_others(prefill, decode, box):
    ticket = encoded(prefill)
    assert await fetch(decode, ticket, box) == expected(ticket, box)
    size = Layout(FORMAT, box).size
    assert prefill.relay.health.kv["sent_bytes_int4"] == decode.relay.health.kv["received_bytes_int4"] == size
    assert decode.relay.pool.used_bytes == 0


async def test_acknowledging_frees_the_bytes_at_the_source(prefill, decode):
    ticket = encoded(prefill, readers=2)
    await decode.relay.acknowledge_at_source(ticket)
    assert await fetch(decode, ticket)
    await decode.relay.acknowledge_at_source(ticket)
    assert prefill.relay.pool.used_bytes == 0
    with pytest.raises(UnknownTicket):
        await fetch(decode, ticket)


async def test_a_pull_waits_until_the_ticket_is_ready(prefill, decode):
    ticket, region = reserved(prefill)
    fetching = asyncio.create_task(fetch(decode, ticket))
    await asyncio.sleep(0.1)
    fill(prefill.relay.pool.view(region), ticket)
    prefill.relay.encoded(ticket.ticket, 0, 0.0)
    assert await fetching == expected(ticket, FORMAT.whole)


async def test_a_pull_does_not_wait_for_ever(prefill, decode):
    ticket, _ = reserved(prefill)
    started = time.monotonic()
    with pytest.raises((NotReady, PeerUnreachable)):
        await fetch(decode, ticket, timeout_s=0.3)
    assert time.monotonic() - started < 2
    assert decode.relay.pool.used_bytes == 0


async def test_a_failed_ticket_says_why(prefill, decode):
    ticket, _ = reserved(prefill)
    prefill.relay.encode_failed(ticket.ticket, 0, "NaN")
    with pytest.raises(TicketFailed, match="NaN"):
        await fetch(decode, ticket)


async def test_a_ticket_dropped_while_a_pull_waits_ends_the_wait(prefill, decode):
    ticket, _ = reserved(prefill)
    fetching = asyncio.create_task(fetch(decode, ticket))
    await asyncio.sleep(0.1)
    prefill.relay.drop(ticket.ticket, ticket.capability)
    with pytest.raises(UnknownTicket):
        await fetching


async def test_a_guessed_capability_pulls_nothing(prefill, decode):
    ticket = encoded(prefill)
    guess = Ticket(ticket.ticket, ticket.agent, "guess", ticket.binding, ticket.format)
    with pytest.raises(WrongCapability):
        await fetch(decode, guess)


async def test_a_damaged_tile_is_asked_for_again_alone(prefill, decode):
    def damage(body):
        if prefill.pulls > 1:
            return body
        return body[:5000] + bytes([body[5000] ^ 1]) + body[5001:] if body else body

    ticket, prefill.damage = encoded(prefill), damage
    assert await fetch(decode, ticket) == expected(ticket, FORMAT.whole)
    assert decode.relay.health.kv["tiles_pulled_twice"] == 1


async def test_a_stream_that_breaks_off_is_resumed(prefill, decode):
    ticket, prefill.damage = encoded(prefill), lambda body: body[: len(body) // 3] if prefill.pulls == 1 else body
    assert await fetch(decode, ticket) == expected(ticket, FORMAT.whole)
    assert decode.relay.health.kv["tiles_pulled_twice"] > 10


async def test_a_tile_damaged_twice_fails_the_fetch(prefill, decode):
    ticket = encoded(prefill)
    prefill.damage = lambda body: body and body[:40] + bytes([body[40] ^ 255]) + body[41:]
    with pytest.raises(PeerUnreachable, match="1 tiles"):
        await fetch(decode, ticket)
    assert decode.relay.pool.used_bytes == 0


async def test_more_bytes_than_asked_for_are_refused(prefill, decode):
    ticket, prefill.damage = encoded(prefill), lambda body: body + b"more"
    with pytest.raises(BadFrame):
        await fetch(decode, ticket)


async def test_a_dead_agent_is_noticed_soon(prefill, decode):
    ticket = encoded(prefill)
    await prefill.stop()
    started = time.monotonic()
    with pytest.raises(PeerUnreachable):
        await fetch(decode, ticket)
    assert time.monotonic() - started < 2


async def test_an_agent_with_another_name_is_not_asked(credentials, tmp_path, decode):
    imposter = await Site(credentials, tmp_path, "p", certificate="imposter").start()
    with pytest.raises(PeerUnreachable):
        await fetch(decode, encoded(imposter))
    assert imposter.pulls == 0
    await imposter.stop()


async def test_an_address_that_is_none_fails_the_fetch(decode, prefill):
    ticket = encoded(prefill)
    nowhere = Ticket(
        ticket.ticket, AgentAddress("not a host", 1, ticket.agent.name), ticket.capability, "b", ticket.format
    )
    with pytest.raises(PeerUnreachable):
        await fetch(decode, nowhere)


async def test_acknowledging_to_nobody_is_only_counted(prefill, decode):
    ticket = encoded(prefill)
    await prefill.stop()
    await decode.relay.acknowledge_at_source(ticket)
    assert decode.relay.health.kv["acks_failed"] == 1


def body_of(ticket, change):
    return {"ticket": ticket.ticket, "capability": ticket.capability, "tiles": [[0, 4, 0, 2, 0, 4]], **change}


@pytest.mark.parametrize(
    ("path", "change", "status"),
    [
        ("/kv/pull", {}, 200),
        ("/kv/pull", {"capability": "guess"}, 403),
        ("/kv/pull", {"ticket": "0" * 16}, 404),
        ("/kv/pull", {"tiles": []}, 400),
        ("/kv/pull", {"tiles": [[0, 9, 0, 2, 0, 4]]}, 400),
        ("/kv/pull", {"tiles": [[0, 4, 0, 2]]}, 400),
        ("/kv/pull", {"tiles": [[0, 4, 0, 2, 0, 4]] * 9000}, 400),
        ("/kv/pull", {"tiles": "all"}, 400),
        ("/kv/pull", {"tiles": [[0, 4, 0, 2, 0, float("inf")]]}, 400),
        ("/kv/pull", {"tiles": [[0, 4, 0, 2, 0, 4]] * 2}, 400),
        ("/kv/pull", {"wait_s": "long"}, 400),
        ("/kv/ack", {}, 200),
        ("/kv/ack", {"capability": "guess"}, 403),
        ("/kv/ack", {"ticket": "0" * 16}, 200),
        ("/kv/drop", {}, 200),
        ("/kv/drop", {"ticket": 5}, 400),
        ("/kv/drop", {"capability": "guess"}, 403),
    ],
)
async def test_the_port_answers(prefill, decode, path, change, status):
    ticket = encoded(prefill)
    url = f"https://127.0.0.1:{prefill.port}{path}"
    session = decode.relay._client._session
    async with session.post(url, json=body_of(ticket, change), server_hostname="p.agent.thunder") as response:
        await response.read()
        assert response.status == status


async def test_dropping_a_ticket_object_frees_its_bytes(prefill, decode):
    ticket = encoded(prefill)
    url = f"https://127.0.0.1:{prefill.port}/kv/drop"
    session = decode.relay._client._session
    async with session.post(url, json=ticket.to_json(), server_hostname="p.agent.thunder") as response:
        assert await response.json() == {"known": True}
    assert prefill.relay.pool.used_bytes == 0
    async with session.post(url, json=ticket.to_json(), server_hostname="p.agent.thunder") as response:
        assert await response.json() == {"known": False}
