"""Two agents move tiles over mutual TLS, and nothing that arrives is believed unchecked."""

import asyncio
import socket
import time

import pytest
from aiohttp import web

from planner.deployment import Codec
from runtime.relay.client import STRIPES
from runtime.relay.exchange import ANSWER, PeerUnreachable, ask
from runtime.relay.pool import Region
from runtime.relay.port import SharedPort
from runtime.relay.pulls import PullServer
from runtime.relay.relay import Relay
from runtime.relay.server import add_relay_routes
from runtime.relay.stream import HELLO
from runtime.relay.streams import Streams
from runtime.relay.tickets import AgentAddress, NotReady, Ticket, TicketFailed, UnknownTicket, WrongCapability
from runtime.tiles.box import Box
from runtime.tiles.format import KvFormat
from runtime.tiles.frame import HEADER, BadFrame, seal
from runtime.tiles.geometry import Geometry
from runtime.tiles.layout import Layout
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


class DamagingServer(PullServer):
    """`damage` may change the bytes of an answer before they go out; a shorter answer ends the stream."""

    def __init__(self, relay, context):
        super().__init__(relay, context)
        self.damage = lambda body: body
        self.pulls = 0

    def views(self, ticket, data, boxes):
        self.pulls += 1
        body = b"".join(bytes(view) for view in super().views(ticket, data, boxes))
        damaged = self.damage(body)
        yield memoryview(damaged)
        if len(damaged) < len(body):
            raise ConnectionResetError("cut off by the test")


class Site:
    """An agent's relay and its port."""

    def __init__(self, credentials, tmp_path, name, certificate=None, pool=POOL):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._context = server_context(credentials / (certificate or name))
        self.relay = Relay(
            agent_name=f"{name}.agent.thunder",
            advertise=("127.0.0.1", self.port),
            pool_bytes=pool,
            socket_path=str(tmp_path / f"{name}.sock"),
            ssl_context=client_context(credentials / name),
        )
        self.server = DamagingServer(self.relay, self._context)

    async def start(self):
        app = web.Application()
        add_relay_routes(app, self.relay)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        self._shared = SharedPort(self._listener, self._runner, self.server, self._context)
        await self._shared.start()
        await self.relay.start()
        return self

    async def stop(self):
        await self._shared.close()
        await self.relay.close()
        await self._runner.cleanup()


@pytest.fixture
async def prefill(credentials, tmp_path):
    site = await Site(credentials, tmp_path, "p").start()
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
        if prefill.server.pulls > 1:
            return body
        return body[:5000] + bytes([body[5000] ^ 1]) + body[5001:] if body else body

    ticket, prefill.server.damage = encoded(prefill), damage
    assert await fetch(decode, ticket) == expected(ticket, FORMAT.whole)
    assert decode.relay.health.kv["tiles_pulled_twice"] == 1


async def test_a_stream_that_breaks_off_is_resumed(prefill, decode):
    ticket, prefill.server.damage = (
        encoded(prefill),
        lambda body: body[: len(body) // 3] if prefill.server.pulls == 1 else body,
    )
    assert await fetch(decode, ticket) == expected(ticket, FORMAT.whole)
    assert decode.relay.health.kv["tiles_pulled_twice"] > 10


async def test_a_tile_damaged_twice_fails_the_fetch(prefill, decode):
    ticket = encoded(prefill)
    prefill.server.damage = lambda body: body and body[:40] + bytes([body[40] ^ 255]) + body[41:]
    with pytest.raises(PeerUnreachable, match="1 tiles"):
        await fetch(decode, ticket)
    assert decode.relay.pool.used_bytes == 0


async def test_bytes_beyond_an_answer_are_never_taken_for_the_next_one(prefill, decode):
    ticket, prefill.server.damage = encoded(prefill), lambda body: body + bytes(ANSWER.size)
    for _ in range(2):
        assert await fetch(decode, ticket) == expected(ticket, FORMAT.whole)


async def test_streams_are_kept_and_used_again(prefill, decode):
    ticket = encoded(prefill)
    for _ in range(3):
        await fetch(decode, ticket)
    assert await lent(decode, ticket) is await lent(decode, ticket)


async def test_a_stream_that_the_peer_has_closed_is_not_used_again(prefill, decode):
    ticket = encoded(prefill)
    before = await lent(decode, ticket)
    before._plain.shutdown(socket.SHUT_RDWR)
    assert await fetch(decode, ticket) == expected(ticket, FORMAT.whole)
    assert await lent(decode, ticket) is not before


async def test_a_probe_measures_the_way_that_a_pull_made_known(prefill, decode):
    await fetch(decode, encoded(prefill))
    await decode.relay._client.probe_idle()
    (link,) = decode.relay.health.links
    assert link.peer == "p.agent.thunder"
    assert link.bandwidth_gbit_per_s > 0
    assert 0 < link.latency_ms < 1000


async def test_large_pulls_go_over_several_streams(credentials, tmp_path):
    prefill, decode = [await Site(credentials, tmp_path, name, pool=64 << 20).start() for name in "pd"]
    ticket, layout = large_ticket(prefill)
    region = await decode.relay.fetch(ticket, layout.box, timeout_s=10)
    assert prefill.server.pulls == STRIPES
    source = prefill.relay.pool.view(Region(0, layout.size))
    assert decode.relay.pool.view(region) == source
    source.release()
    for site in (prefill, decode):
        await site.stop()


async def test_a_reader_that_stops_reading_frees_the_ticket_at_its_own_deadline(credentials, tmp_path):
    prefill, decode = [await Site(credentials, tmp_path, name, pool=64 << 20).start() for name in "pd"]
    ticket, layout = large_ticket(prefill)
    async with asyncio.timeout(10), decode.relay._client.streams.lend(ticket.agent) as stream:
        stream._plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        await ask(stream, question_of(ticket, {"tiles": [layout.box.row], "wait_s": 0.1}), layout.size, "p")
        prefill.relay.drop(ticket.ticket, ticket.capability)
        assert prefill.relay.pool.used_bytes > 0
        while prefill.relay.pool.used_bytes:
            await asyncio.sleep(0.02)
    assert prefill.relay.health.kv["pulls_cut_off"] == 1
    for site in (prefill, decode):
        await site.stop()


async def lent(site, ticket):
    async with site.relay._client.streams.lend(ticket.agent) as stream:
        return stream


def large_ticket(site):
    """Ready, and more than sockets hold; its tiles are sealed around nothing."""
    kv_format = KvFormat(Geometry(32, 8, 128, "float16"), 384, Codec.RAW)
    layout = Layout(kv_format, kv_format.whole)
    ticket, region = site.relay.reserve(kv_format, "binding", owner="engine", ranks=1, readers=1)
    data = site.relay.pool.view(region)
    for tile, at, length in layout.frames():
        seal(data[at : at + length], kv_format.prefix(tile, ticket.tag))
    site.relay.encoded(ticket.ticket, 0, 0.0)
    return ticket, layout


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
    assert imposter.server.pulls == 0
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


def question_of(ticket, change):
    whole = {"ticket": ticket.ticket, "capability": ticket.capability, "tiles": [[0, 4, 0, 2, 0, 4]], "wait_s": 1.0}
    return {**whole, **change}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"capability": "guess"}, WrongCapability),
        ({"ticket": "0" * 16}, UnknownTicket),
        ({"ticket": 5}, PeerUnreachable),
        ({"tiles": []}, PeerUnreachable),
        ({"tiles": [[0, 9, 0, 2, 0, 4]]}, PeerUnreachable),
        ({"tiles": [[0, 4, 0, 2]]}, PeerUnreachable),
        ({"tiles": [[0, 4, 0, 2, 0, 4]] * 9000}, PeerUnreachable),
        ({"tiles": "all"}, PeerUnreachable),
        ({"tiles": [[0, 4, 0, 2, 0, float("inf")]]}, PeerUnreachable),
        ({"tiles": [[0, 4, 0, 2, 0, 4]] * 2}, PeerUnreachable),
        ({"wait_s": "long"}, PeerUnreachable),
        ({"tiles": [[0, 1, 0, 2, 0, 4]]}, BadFrame),
        ({"probe_bytes": 1 << 30}, PeerUnreachable),
        ({"probe_bytes": -1}, PeerUnreachable),
    ],
)
async def test_a_question_that_must_be_refused_is_and_the_next_is_answered(prefill, decode, change, error):
    ticket = encoded(prefill)
    with pytest.raises(error):
        async with decode.relay._client.streams.lend(ticket.agent) as stream:
            await ask(stream, question_of(ticket, change), WHOLE.size, "p")
    assert await fetch(decode, ticket) == expected(ticket, FORMAT.whole)


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1", b"THKV\x02", HELLO + b"no TLS at all" * 9])
async def test_a_caller_that_speaks_neither_protocol_is_hung_up_on(prefill, decode, said):
    reader, writer = await asyncio.open_connection("127.0.0.1", prefill.port)
    writer.write(said)
    writer.write_eof()
    async with asyncio.timeout(5):
        await reader.read()
    writer.close()
    assert await fetch(decode, encoded(prefill))


async def test_only_agents_may_open_streams(credentials, prefill):
    issue(credentials / "ca", "router.thunder", credentials / "router")
    ticket = encoded(prefill)
    streams = Streams(client_context(credentials / "router"))
    with pytest.raises(ConnectionError):
        async with streams.lend(ticket.agent) as stream:
            await ask(stream, question_of(ticket, {}), WHOLE.size, "p")
    assert prefill.server.pulls == 0


@pytest.mark.parametrize(
    ("path", "change", "status"),
    [
        ("/kv/pull", {}, 404),
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
    async with session.post(url, json=question_of(ticket, change), server_hostname="p.agent.thunder") as response:
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
