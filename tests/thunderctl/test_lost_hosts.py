"""A host that is gone without a word is noticed by what its kernel no longer says, long before an answer is late."""

import asyncio
import errno
import json
import subprocess
import sys
from contextlib import contextmanager, suppress

import aiohttp
import pytest

from planner.deployment import Phase
from planner.errors import HostError
from runtime.lost_hosts import not_again, noticing
from runtime.messages import CONTROLLER_NAME, AgentHealth, ReplicaAddress, agent_name
from runtime.router.engines.upstream import Upstream
from runtime.router.settings import RouterSettings
from runtime.tls import client_context
from tests.provisioners.networks import Unavailable, networks
from thunderctl.keys.certificates import ensure_authority, issue
from thunderctl.processes.agents import Agents

PATIENT = 120.0
SERVING = """
import sys
from pathlib import Path
from aiohttp import web
from runtime.tls import server_context

async def health(_request):
    return web.Response(text=sys.argv[2], content_type="application/json")

app = web.Application()
app.router.add_get("/{path:.*}", health)
context = server_context(Path(sys.argv[3])) if len(sys.argv) > 3 else None
web.run_app(app, host=sys.argv[1], port=8443, ssl_context=context, print=lambda _: print("ready", flush=True))
"""
WELL = json.dumps(AgentHealth("i0", "1").to_json())


@pytest.fixture(scope="module")
def hosts():
    """Each in a network of its own; `lose` takes its cable out."""
    try:
        with networks(2, subnet=9) as made:
            yield made
    except Unavailable as error:
        pytest.skip(str(error))


@contextmanager
def serving(host, *arguments: str):
    command = [*host.through, sys.executable, "-P", "-c", SERVING, host.address, WELL, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


def lose(host) -> None:
    subprocess.run([*host.through, "ip", "link", "set", "wire", "down"], check=True)


async def test_the_controller_notices_a_host_that_is_gone(hosts, tmp_path):
    host = hosts[0]
    ensure_authority(tmp_path / "ca")
    for name in (CONTROLLER_NAME, agent_name("l0")):
        issue(tmp_path / "ca", name, tmp_path / name)
    with serving(host, str(tmp_path / agent_name("l0"))):
        async with Agents(client_context(tmp_path / CONTROLLER_NAME)) as session:
            client = session.at("l0", host.address, 8443)
            assert (await client.health()).instance == "i0"
            lose(host)
            for _ in range(2):  # on the connection that it had, and on a new one
                with pytest.raises(HostError, match="can't be reached") as caught:
                    await client.health()
                assert "no answer in time" not in caught.value.message  # that were our own patience


async def test_the_router_notices_a_host_that_is_gone(hosts):
    host = hosts[1]
    replica = ReplicaAddress("r0", Phase.MIXED, f"http://{host.address}:8443")
    with serving(host):
        async with Upstream(RouterSettings(probe_timeout_s=PATIENT)) as upstream:
            assert await upstream.probe(replica) == ""
            lose(host)
            assert "did not answer in" not in await upstream.probe(replica)
            assert await upstream.probe(replica) != ""


LOST_AFTER_S = 0.3


async def asked_twice(silence_s: float) -> tuple[int, list[object]]:
    """The second request goes over the connection of the first, which is cut after so long: how often somebody
    connected, and what came of both."""
    connected, said = [], []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(1)
        with suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            if len(connected) == 1:
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(silence_s)
                writer.transport.abort()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    connector = aiohttp.TCPConnector(socket_factory=noticing(LOST_AFTER_S))
    async with server, aiohttp.ClientSession(connector=connector, trace_configs=[not_again(LOST_AFTER_S)]) as session:
        for _ in range(2):
            try:
                async with session.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/health") as response:
                    said.append(response.status)
            except aiohttp.ClientOSError as error:
                said.append(error.errno)
    return len(connected), said


async def test_what_met_silence_is_not_asked_again_on_a_new_connection():
    """aiohttp would, and be as long once more about it."""
    assert await asked_twice(LOST_AFTER_S) == (1, [200, errno.ETIMEDOUT])


async def test_what_met_a_connection_that_was_closed_is_asked_again():
    assert await asked_twice(0.0) == (2, [200, 200])
