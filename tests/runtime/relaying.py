"""Agents' relays on loopback over real mutual TLS, for the tests of the relay: their tickets, and what is in them."""

import asyncio
import contextlib
import socket
import time

from aiohttp import web

from planner.deployment import Codec
from runtime.relay.local import LocalDoor
from runtime.relay.port import SharedPort
from runtime.relay.pulls import PullServer
from runtime.relay.relay import Relay
from runtime.relay.reverse import ReverseDial
from runtime.relay.server import add_relay_routes
from runtime.relay.ticket import AgentAddress
from runtime.tiles.format import KvFormat
from runtime.tiles.frame import HEADER, seal
from runtime.tiles.geometry import Geometry
from runtime.tiles.layout import Layout
from runtime.tls import client_context, server_context
from thunderctl.keys.certificates import ensure_authority, issue

FORMAT = KvFormat(Geometry(4, 2, 64, "float16"), 200, Codec.INT4, boundary_layers=1)
WHOLE = Layout(FORMAT, FORMAT.whole)
POOL = 4 << 20


def credentials_in(folder, names):
    """A deployment's certificates, one an agent."""
    ensure_authority(folder / "ca")
    for name in names:
        issue(folder / "ca", f"{name}.agent.thunder", folder / name)
    return folder


class DamagingServer(PullServer):
    """`damage` may change the bytes of an answer before they go out; a shorter answer ends the stream."""

    def __init__(self, relay, context):
        super().__init__(relay, context)
        self.damage = lambda body: body
        self.pulls = 0

    def views(self, reading, piece, box):
        self.pulls += 1
        body = b"".join(bytes(view) for view in super().views(reading, piece, box))
        damaged = self.damage(body)
        yield memoryview(damaged)
        if len(damaged) < len(body):
            raise ConnectionResetError("cut off by the test")


class Site:
    """An agent's relay, its port, and the peers it dials. Where `dialled` is false, others can't dial it."""

    def __init__(
        self,
        credentials,
        tmp_path,
        name,
        certificate=None,
        pool=POOL,
        port=0,
        dialled=True,
        pause=asyncio.sleep,
        now=time.monotonic,
    ):
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self._context = server_context(credentials / (certificate or name))
        self.relay = Relay(
            agent_name=f"{name}.agent.thunder",
            advertise=("127.0.0.1", self.port if dialled else 0),
            pool_bytes=pool,
            ssl_context=client_context(credentials / name),
            now=now,
        )
        self.door = LocalDoor(self.relay, str(tmp_path / f"{name}.sock"))
        self.address = AgentAddress("127.0.0.1", self.port, f"{name}.agent.thunder")
        self.server = DamagingServer(self.relay, self._context)
        self.reverse = ReverseDial(client_context(credentials / (certificate or name)), self.server.answer, pause)

    async def start(self):
        app = web.Application()
        add_relay_routes(app, self.relay)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        self._shared = SharedPort(self._listener, self._runner, self.server, self._context)
        await self._shared.start()
        await self.relay.start()
        await self.door.start()
        return self

    async def stop(self):
        await self.reverse.close()
        await self._shared.close()
        await self.door.close()
        await self.relay.close()
        await self._runner.cleanup()


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


@contextlib.asynccontextmanager
async def pulling(site, agent, count):
    """So many pulls that want a stream to an agent each, and as many of them as get one keep it."""
    released, streams = asyncio.Event(), site.relay.streams

    async def pull():
        async with streams.lend(agent):
            await released.wait()

    tasks = [asyncio.create_task(pull()) for _ in range(count)]
    async with asyncio.timeout(10):
        while len(streams._ways[agent.name].lent) < count - 1:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
    yield
    released.set()
    await asyncio.gather(*tasks)


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


def question_of(ticket, change):
    held = {"ticket": ticket.ticket, "capability": ticket.capability, "binding": ticket.binding}
    return {**held, "tiles": [[0, 4, 0, 2, 0, 4]], "wait_s": 1.0, **change}
