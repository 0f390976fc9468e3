"""Two agents move tiles over mutual TLS, and nothing that arrives is believed unchecked."""

import asyncio
import contextlib
import socket
import time
from dataclasses import replace

import aiohttp
import pytest

from runtime.relay.client import STRIPES
from runtime.relay.exchange import ANSWER, PeerUnreachable, ask
from runtime.relay.pool import Region
from runtime.relay.stream import HELLO
from runtime.relay.streams import LIMIT_STREAMS, Streams
from runtime.relay.ticket import AgentAddress, NotReady, Ticket, TicketFailed, UnknownTicket, WrongCapability
from runtime.tiles.box import Box
from runtime.tiles.frame import BadFrame
from runtime.tiles.layout import Layout
from runtime.tls import client_context
from tests.runtime.relaying import (
    FORMAT,
    WHOLE,
    Site,
    encoded,
    expected,
    fetch,
    fill,
    large_ticket,
    pulling,
    question_of,
    reserved,
)
from thunderctl.keys.certificates import issue


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
    assert time.monotonic() - started < 20
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
    socket.socket.shutdown(before._tls, socket.SHUT_RDWR)
    assert await fetch(decode, ticket) == expected(ticket, FORMAT.whole)
    assert await lent(decode, ticket) is not before


async def test_who_finds_all_streams_lent_waits_for_one(prefill, decode):
    agent, streams = prefill.address, decode.relay.streams
    async with asyncio.timeout(5), contextlib.AsyncExitStack() as lent:
        for _ in range(LIMIT_STREAMS - 2):
            await lent.enter_async_context(streams.lend(agent))
        async with streams.lend(agent):
            waiting = asyncio.create_task(fetch(decode, encoded(prefill)))
            await asyncio.sleep(0.05)
            assert not waiting.done()
        assert await waiting


async def test_what_is_said_of_tickets_does_not_wait_for_pulls(prefill, decode):
    """Else those that are still wanted expire just when the line is full."""
    wanted, read = encoded(prefill), encoded(prefill)
    async with pulling(decode, prefill.address, LIMIT_STREAMS), asyncio.timeout(5):
        await decode.relay.renew_at_source(prefill.address, [(wanted.ticket, wanted.capability)])
        await decode.relay.acknowledge_at_source(read)
        assert (prefill.relay.counts["tickets_renewed"], prefill.relay.counts["tickets_read"]) == (1, 1)
        assert decode.relay.streams._ways[prefill.address.name].count == LIMIT_STREAMS
    assert await fetch(decode, wanted) == expected(wanted, FORMAT.whole)


async def test_who_waits_for_a_stream_waits_as_long_as_the_others_get_on(prefill, decode, monkeypatch):
    monkeypatch.setattr("runtime.relay.streams.LIMIT_STREAMS", 1)
    agent, streams = prefill.address, decode.relay.streams
    ticket = encoded(prefill)
    async with asyncio.timeout(5), streams.lend(agent) as busy:
        waiting = asyncio.create_task(fetch(decode, ticket, timeout_s=0.1))
        for _ in range(20):
            busy.received_bytes += 1
            await asyncio.sleep(0.02)
        assert not waiting.done()
        with pytest.raises(PeerUnreachable, match="No stream"):
            await waiting
        waiting = asyncio.create_task(fetch(decode, ticket))
        await asyncio.sleep(0.01)
        telling = asyncio.create_task(decode.relay._client.acknowledge(ticket))
        await asyncio.sleep(0.01)
    assert await waiting == expected(ticket, FORMAT.whole)
    await telling
    assert prefill.relay.pool.used_bytes == 0


async def test_it_is_remembered_that_an_agent_is_near(prefill, decode):
    agent, streams = prefill.address, decode.relay.streams
    assert not streams.is_near(agent)
    await lent(decode, encoded(prefill))
    async with streams.lend(agent):
        assert streams.is_near(agent)


async def test_the_time_of_a_pull_does_not_run_while_its_prompt_is_computed(prefill, decode, monkeypatch):
    for module in ("client", "pulls"):
        monkeypatch.setattr(f"runtime.relay.{module}.longest_s", lambda _size, _stall_s: 0.3)
    ticket, region = reserved(prefill)
    fill(prefill.relay.pool.view(region), ticket)
    prefill.relay.encoded_part(ticket.ticket, Box((0, 4), (0, 2), (0, 1)), 0.0, owner="engine", rank=0)
    fetching = asyncio.create_task(fetch(decode, ticket))
    await asyncio.sleep(0.6)
    prefill.relay.encoded(ticket.ticket, 0, 0.0)
    assert await fetching == expected(ticket, FORMAT.whole)
    assert decode.relay.health.kv["tiles_pulled_twice"] == 0


async def test_agents_that_nothing_leads_to_are_forgotten(decode):
    nobody = AgentAddress("127.0.0.1", 1, "nobody.agent.thunder")
    with pytest.raises(PeerUnreachable):
        async with decode.relay.streams.lend(nobody):
            pass
    decode.relay.sweep()
    assert not decode.relay.streams._ways


async def test_a_probe_measures_the_way_that_a_pull_made_known(prefill, decode):
    await fetch(decode, encoded(prefill))
    await decode.relay._client.probe_idle()
    (link,) = decode.relay.health.links
    assert link.peer == "p.agent.thunder"
    assert link.bandwidth_gbit_per_s > 0
    assert 0 < link.latency_ms < 1000


async def test_large_pulls_go_over_several_streams_until_the_other_is_known_to_be_near(credentials, tmp_path):
    prefill, decode = [await Site(credentials, tmp_path, name, pool=64 << 20).start() for name in "pd"]
    ticket, layout = large_ticket(prefill)
    region = await decode.relay.fetch(ticket, layout.box, timeout_s=10)
    assert prefill.server.pulls == STRIPES
    source = prefill.relay.pool.view(Region(0, layout.size))
    assert decode.relay.pool.view(region) == source
    source.release()
    decode.relay.release(region)
    decode.relay.release(await decode.relay.fetch(ticket, layout.box, timeout_s=10))
    assert prefill.server.pulls == STRIPES + 1
    for site in (prefill, decode):
        await site.stop()


async def test_a_reader_that_stops_reading_frees_the_ticket_at_its_own_deadline(credentials, tmp_path):
    prefill, decode = [await Site(credentials, tmp_path, name, pool=64 << 20).start() for name in "pd"]
    ticket, layout = large_ticket(prefill)
    async with asyncio.timeout(10), decode.relay.streams.lend(ticket.agent) as stream:
        stream._tls.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        await ask(stream, question_of(ticket, {"tiles": [layout.box.row], "wait_s": 0.1}), layout.size, "p")
        prefill.relay.drop(ticket.ticket, ticket.capability)
        assert prefill.relay.pool.used_bytes > 0
        while prefill.relay.pool.used_bytes:
            await asyncio.sleep(0.02)
    assert prefill.relay.health.kv["pulls_cut_off"] == 1
    for site in (prefill, decode):
        await site.stop()


async def lent(site, ticket):
    async with site.relay.streams.lend(ticket.agent) as stream:
        return stream


async def test_a_dead_agent_is_noticed_soon(prefill, decode):
    ticket = encoded(prefill)
    await prefill.stop()
    started = time.monotonic()
    with pytest.raises(PeerUnreachable):
        await fetch(decode, ticket)
    assert time.monotonic() - started < 20


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
        async with decode.relay.streams.lend(ticket.agent) as stream:
            await ask(stream, question_of(ticket, change), WHOLE.size, "p")
    assert await fetch(decode, ticket) == expected(ticket, FORMAT.whole)


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1", b"THKV\x01", b"THKV\x02", HELLO + b"no TLS at all" * 9])
async def test_a_caller_that_speaks_neither_protocol_is_hung_up_on(prefill, decode, said):
    reader, writer = await asyncio.open_connection("127.0.0.1", prefill.port)
    writer.write(said)
    writer.write_eof()
    with contextlib.suppress(ConnectionResetError):
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


async def test_a_ticket_that_is_gone_can_be_acknowledged_but_not_with_a_guess(prefill, decode):
    ticket = encoded(prefill)
    for _ in range(2):
        await decode.relay.acknowledge_at_source(ticket)
    guess = replace(encoded(prefill), capability="guess")
    await decode.relay.acknowledge_at_source(guess)
    assert decode.relay.health.kv["acks_failed"] == 1
    assert (prefill.relay.health.kv["tickets_read"], prefill.relay.health.tickets) == (1, 1)


@pytest.mark.parametrize(
    ("path", "change", "answer"),
    [
        ("/kv/pull", {}, 404),
        ("/kv/ack", {}, 404),
        ("/kv/drop", {}, {"known": True}),
        ("/kv/drop", {"ticket": "0" * 16}, {"known": False}),
        ("/kv/drop", {"ticket": 5}, 400),
        ("/kv/drop", {"capability": "guess"}, 403),
    ],
)
async def test_http_drops_tickets_and_nothing_else(credentials, prefill, path, change, answer):
    ticket = encoded(prefill)
    async with aiohttp.ClientSession() as http:
        response = await http.post(
            f"https://127.0.0.1:{prefill.port}{path}",
            json={**ticket.to_json(), **change},
            ssl=client_context(credentials / "d"),
            server_hostname="p.agent.thunder",
        )
        said = await response.json() if response.status == 200 else response.status
    assert said == answer
    assert (prefill.relay.pool.used_bytes == 0) == (answer == {"known": True})


async def test_chores_go_on_after_one_that_went_wrong_unforeseen(credentials, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("runtime.relay.relay.SWEEP_S", 0.01)
    swept, again = [], asyncio.Event()

    def sweep():
        swept.append(1)
        if len(swept) == 1:
            raise RuntimeError("nobody thought of this")
        again.set()

    site = Site(credentials, tmp_path, "p")
    monkeypatch.setattr(site.relay, "sweep", sweep)
    await site.start()
    async with asyncio.timeout(5):
        await again.wait()
    await site.stop()
    assert "nobody thought of this" in caplog.text
