"""An agent that nobody can dial serves pulls all the same: it dials those who pull, and they ask on its streams."""

import asyncio
import contextlib
from dataclasses import replace

import pytest

from planner.deployment import Codec
from planner.errors import SpecError
from runtime.relay.client import STRIPES
from runtime.relay.exchange import PeerUnreachable
from runtime.relay.pool import Region
from runtime.relay.reverse import LEAST_PAUSE_S, LIMIT_PEERS, LONGEST_PAUSE_S, STREAMS_EACH
from runtime.relay.stream import HELLO_REVERSED
from runtime.relay.streams import LIMIT_STREAMS, dialled
from runtime.relay.ticket import AgentAddress
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import Geometry
from runtime.tls import client_context
from tests.runtime.relaying import FORMAT, Site, credentials_in, encoded, expected, fetch, large_ticket, pulling
from thunderctl.keys.certificates import issue

POOL = 64 << 20
P = AgentAddress("nowhere", 0, "p.agent.thunder")


@pytest.fixture(scope="module")
def credentials(tmp_path_factory):
    folder = credentials_in(tmp_path_factory.mktemp("tls"), ("p", "d", "imposter"))
    issue(folder / "ca", "router.thunder", folder / "router")
    return folder


class Pauses:
    """Taken in no time, up to as many as are of interest."""

    def __init__(self, limit=10**6):
        self.taken = []
        self._limit = limit

    async def __call__(self, seconds):
        self.taken.append(seconds)
        await asyncio.sleep(0.01 if len(self.taken) < self._limit else 3600)


@pytest.fixture
async def decode(credentials, tmp_path):
    site = await Site(credentials, tmp_path, "d", pool=POOL).start()
    yield site
    await site.stop()


@pytest.fixture
async def hidden(credentials, tmp_path):
    """A prefill agent that can't be dialled."""
    pauses = Pauses()
    site = await Site(credentials, tmp_path, "p", pool=POOL, dialled=False, pause=pauses).start()
    site.pauses = pauses
    yield site
    await site.stop()


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def break_one(site, agent=P):
    """The next stream that is lent does not survive its use."""
    with contextlib.suppress(ZeroDivisionError):
        async with asyncio.timeout(5), site.relay.streams.lend(agent):
            raise ZeroDivisionError


async def test_tiles_cross_in_both_directions(hidden, decode):
    hidden.reverse.keep([decode.address])
    there, back = encoded(hidden), encoded(decode)
    assert not there.agent.dialled
    assert await fetch(decode, there) == expected(there, FORMAT.whole)
    assert await fetch(hidden, back) == expected(back, FORMAT.whole)


async def test_large_pulls_from_afar_go_over_several_of_its_streams(hidden, decode, monkeypatch):
    monkeypatch.setattr("runtime.relay.streams.NEAR_S", 0.0)
    hidden.reverse.keep([decode.address])
    await until(lambda: decode.relay.streams._ways[P.name].count == STREAMS_EACH)
    ticket, layout = large_ticket(hidden)
    region = await decode.relay.fetch(ticket, layout.box, timeout_s=10)
    assert hidden.server.pulls == STRIPES
    source = hidden.relay.pool.view(Region(0, layout.size))
    assert decode.relay.pool.view(region) == source
    source.release()


async def test_the_ranks_of_an_engine_share_its_streams_while_their_prompt_is_computed(hidden, decode, monkeypatch):
    monkeypatch.setattr("runtime.relay.streams.NEAR_S", 0.0)
    hidden.reverse.keep([decode.address])
    streams = decode.relay.streams
    await until(lambda: streams._ways[P.name].count == STREAMS_EACH)
    kv_format = KvFormat(Geometry(32, 8, 128, "float16"), 384, Codec.RAW)
    ticket, _ = hidden.relay.reserve(kv_format, "binding", owner="engine", ranks=1, readers=4)
    shares = [replace(kv_format.whole, heads=(head, head + 2)) for head in range(0, 8, 2)]
    ranks = [asyncio.create_task(decode.relay.fetch(ticket, share, timeout_s=5)) for share in shares]
    await until(lambda: len(streams._ways[P.name].lent) > len(ranks))
    assert streams._ways[P.name].waiting == 0
    for rank in ranks:
        rank.cancel()
    await asyncio.gather(*ranks, return_exceptions=True)


async def test_more_pulls_than_streams_take_turns(hidden, decode):
    hidden.reverse.keep([decode.address])
    tickets = [encoded(hidden) for _ in range(3 * STREAMS_EACH)]
    fetched = await asyncio.gather(*(fetch(decode, ticket) for ticket in tickets))
    assert fetched == [expected(ticket, FORMAT.whole) for ticket in tickets]


async def test_acknowledgements_and_probes_go_over_its_streams_too(hidden, decode):
    hidden.reverse.keep([decode.address])
    ticket = encoded(hidden)
    await fetch(decode, ticket)
    await decode.relay.acknowledge_at_source(ticket)
    assert hidden.relay.pool.used_bytes == 0
    await decode.relay._client.probe_idle()
    (link,) = decode.relay.health.links
    assert (link.peer, link.bandwidth_gbit_per_s > 0) == (P.name, True)


async def test_pulls_leave_a_stream_to_what_is_said_of_tickets(hidden, decode):
    hidden.reverse.keep([decode.address])
    streams, wanted = decode.relay.streams, encoded(hidden)
    await until(lambda: streams._ways[P.name].count == STREAMS_EACH)
    async with pulling(decode, P, STREAMS_EACH), asyncio.timeout(5):
        await decode.relay.renew_at_source(P, [(wanted.ticket, wanted.capability)])
        assert hidden.relay.counts["tickets_renewed"] == 1


async def test_a_pull_waits_for_a_stream(hidden, decode):
    ticket = encoded(hidden)
    fetching = asyncio.create_task(fetch(decode, ticket))
    await asyncio.sleep(0)
    hidden.reverse.keep([decode.address])
    assert await fetching == expected(ticket, FORMAT.whole)


async def test_a_pull_does_not_wait_for_a_stream_for_ever(hidden, decode):
    with pytest.raises(PeerUnreachable, match="within"):
        await fetch(decode, encoded(hidden), timeout_s=0.1)
    assert decode.relay.pool.used_bytes == 0


async def test_streams_that_break_are_dialled_again(hidden, decode):
    hidden.reverse.keep([decode.address])
    for _ in range(STREAMS_EACH):
        await break_one(decode)
    ticket = encoded(hidden)
    assert await fetch(decode, ticket) == expected(ticket, FORMAT.whole)


async def test_a_peer_that_comes_back_is_dialled_again(credentials, tmp_path, hidden):
    before = await Site(credentials, tmp_path, "d").start()
    hidden.reverse.keep([before.address])
    assert await fetch(before, encoded(hidden))
    await before.stop()
    after = await Site(credentials, tmp_path, "d", port=before.port).start()
    assert await fetch(after, encoded(hidden))
    await after.stop()


async def test_a_dead_agents_streams_are_not_lent_and_soon_forgotten(hidden, decode):
    hidden.reverse.keep([decode.address])
    ticket = encoded(hidden)
    assert await fetch(decode, ticket)
    await hidden.stop()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), decode.relay.streams.lend(ticket.agent):
            pass
    decode.relay.sweep()
    assert not decode.relay.streams._ways


async def test_a_peer_left_out_is_served_until_its_streams_end(hidden, decode):
    hidden.reverse.keep([decode.address])
    await fetch(decode, encoded(hidden))
    hidden.reverse.keep([])
    assert await fetch(decode, encoded(hidden))
    for _ in range(STREAMS_EACH):
        await break_one(decode)
    with pytest.raises(PeerUnreachable):
        await fetch(decode, encoded(hidden), timeout_s=0.2)


async def test_pauses_grow_while_nobody_answers(credentials, tmp_path, decode):
    pauses = Pauses(limit=12 * STREAMS_EACH)
    site = await Site(credentials, tmp_path, "p", dialled=False, pause=pauses).start()
    await decode.stop()
    site.reverse.keep([decode.address])
    await until(lambda: len(pauses.taken) >= 12 * STREAMS_EACH)
    await site.stop()
    assert max(pauses.taken[:STREAMS_EACH]) <= 2 * LEAST_PAUSE_S
    assert min(pauses.taken[-STREAMS_EACH:]) >= LONGEST_PAUSE_S / 2
    assert max(pauses.taken) <= LONGEST_PAUSE_S


async def test_a_stream_belongs_to_the_name_in_its_certificate(credentials, tmp_path, decode, hidden):
    imposter = await Site(credentials, tmp_path, "imposter", dialled=False).start()
    imposter.reverse.keep([decode.address])
    await break_one(decode, replace(P, name="imposter.agent.thunder"))
    with pytest.raises(PeerUnreachable):
        await fetch(decode, encoded(hidden), timeout_s=0.2)
    assert imposter.server.pulls == 0
    await imposter.stop()


async def test_a_peer_with_another_name_is_not_served(hidden, decode):
    hidden.reverse.keep([replace(decode.address, name="imposter.agent.thunder")])
    with pytest.raises(PeerUnreachable):
        await fetch(decode, encoded(hidden), timeout_s=0.2)
    assert (hidden.server.pulls, len(hidden.pauses.taken) > 0) == (0, True)


async def test_only_agents_may_offer_streams(credentials, decode):
    stream = await dialled(decode.address, client_context(credentials / "router"), HELLO_REVERSED)
    with pytest.raises(ConnectionError):
        await stream.receive(1)
    stream.close()
    assert not decode.relay.streams._ways


async def test_streams_of_one_agent_are_bounded(credentials, decode):
    async def offered():
        return await dialled(decode.address, client_context(credentials / "p"), HELLO_REVERSED)

    kept = [await offered() for _ in range(LIMIT_STREAMS)]
    async with asyncio.timeout(5), contextlib.AsyncExitStack() as lent:
        for _ in kept:
            await lent.enter_async_context(decode.relay.streams.lend(P, brief=True))
        refused = await offered()
        with pytest.raises(ConnectionError):
            await refused.receive(1)
    for stream in (*kept, refused):
        stream.close()


@pytest.mark.parametrize(
    "peers", [[P], [AgentAddress("h", port, "d.agent.thunder") for port in range(1, LIMIT_PEERS + 2)]]
)
async def test_peers_must_be_dialable_and_few(hidden, peers):
    with pytest.raises(SpecError, match="expected"):
        hidden.reverse.keep(peers)
