"""An agent's port towards those who say nothing, or nothing good."""

import asyncio
import contextlib
import socket

import pytest

from runtime.relay import strangers as crowd
from runtime.tls import client_context
from tests.runtime.relaying import FORMAT, Site, encoded, expected, fetch


@pytest.fixture
async def sites(credentials, tmp_path):
    made = [await Site(credentials, tmp_path, name).start() for name in "pd"]
    yield made
    for site in made:
        await site.stop()


@pytest.fixture
async def strangers(monkeypatch, sites):
    """Connections to the prefill agent that say nothing, four times as many as it keeps."""
    monkeypatch.setattr(crowd, "LIMIT_STRANGERS", 4)
    monkeypatch.setattr(crowd, "DALLIED_S", 0.0)
    async with contextlib.AsyncExitStack() as ending:
        found = []
        for _ in range(16):
            reader, writer = await asyncio.open_connection("127.0.0.1", sites[0].port)
            ending.callback(writer.close)
            found.append(reader)
        yield found


async def hung_up(reader):
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""


async def test_of_the_mute_those_who_have_dallied_longest_go(strangers):
    async with asyncio.timeout(5):
        for reader in strangers[:-4]:
            await hung_up(reader)
    assert not any(reader.at_eof() for reader in strangers[-4:])


@pytest.mark.usefixtures("strangers")
async def test_a_crowd_of_the_mute_shuts_no_agent_out_and_ends_no_stream(sites):
    prefill, decode = sites
    ticket = encoded(prefill, readers=2)
    assert await fetch(decode, ticket) == expected(ticket, FORMAT.whole)
    async with decode.relay.streams.lend(ticket.agent) as stream:
        pass
    for _ in range(8):
        _, writer = await asyncio.open_connection("127.0.0.1", prefill.port)
        writer.close()
    assert await fetch(decode, ticket) == expected(ticket, FORMAT.whole)
    async with decode.relay.streams.lend(ticket.agent) as again:
        assert again is stream


async def test_three_hundred_who_come_at_once_and_may_are_all_let_in(credentials, sites):
    """Such as a router's requests, when all of them begin in one moment: nobody of them has dallied."""
    tls, name = client_context(credentials / "d"), "p.agent.thunder"

    async def connected():
        connection = socket.socket()
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", sites[0].port))
        return connection

    async def greeted(connection):
        reader, writer = await asyncio.open_connection(sock=connection, ssl=tls, server_hostname=name)
        writer.write(b"GET /health HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n")
        line = await reader.readline()
        writer.close()
        return line

    connections = await asyncio.gather(*(connected() for _ in range(300)))
    await asyncio.sleep(0.2)  # Long enough for all to be accepted.
    assert set(await asyncio.gather(*map(greeted, connections))) == {b"HTTP/1.1 404 Not Found\r\n"}
