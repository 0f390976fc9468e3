"""Pull tiles from another agent, over mutual TLS, into a region of our own pool.

A stream is believed only where it is what was expected: the bytes of every tile are placed by computation, and a tile
whose header or checksum is wrong is asked for again, once. Large pulls go over several streams at once.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import aiohttp
from yarl import URL

from planner.errors import KvTransferError
from runtime.relay.exchange import ERROR_OF_STATUS, LIMIT_PROBE_BYTES, PeerUnreachable, ask
from runtime.relay.links import LinkMeter
from runtime.relay.receiver import Receiver
from runtime.relay.streams import Streams
from runtime.relay.tickets import Ticket
from runtime.tiles.box import Box, Tile
from runtime.tiles.layout import Layout

STRIPES = 4
"""Streams of one pull: where a single TCP connection is held back by its window or a lost packet, four are less so."""

STRIPE_BYTES = 4 << 20
"""From here on a second stream is worth asking twice."""


PROBE_S = 10.0


class PeerClient:
    """Persistent connections to other agents. Without an ssl context none can be reached (tests of one agent)."""

    def __init__(self, ssl_context: ssl.SSLContext | None) -> None:
        self._ssl = ssl_context
        self.streams = Streams(ssl_context)
        self.links = LinkMeter()
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._ssl or True, limit_per_host=2, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=30)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def close(self) -> None:
        self.streams.close()
        if self._session is not None:
            await self._session.close()

    async def pull(self, ticket: Ticket, layout: Layout, into: memoryview, *, timeout_s: float) -> int:
        """Fetch the tiles of `layout` into `into`; returns how many had to be asked for twice.

        When it returns or raises, nothing writes to `into` any more.
        """
        try:
            async with asyncio.timeout(timeout_s):
                stripes = [[box] for box in stripes_of(layout)]
                missing = await self._attempt(ticket, layout, into, stripes, timeout_s)
                again = len(missing)
                if missing:
                    missing = await self._attempt(ticket, layout, into, [boxes_of(missing)], timeout_s)
        except TimeoutError as error:
            raise PeerUnreachable(f"{ticket.agent.name} did not send all tiles within {timeout_s:g} s.") from error
        if missing:
            raise PeerUnreachable(f"{len(missing)} tiles of {ticket.agent.name} came damaged or not at all, twice.")
        return again

    async def acknowledge(self, ticket: Ticket) -> None:
        """Tell the agent of a ticket that one reader is done. Raises KvTransferError; its expiry then frees it."""
        body = {"ticket": ticket.ticket, "capability": ticket.capability}
        try:
            async with asyncio.timeout(5), self._post(ticket, "/kv/ack", body) as response:
                await _raise_for(response, ticket)
        except (aiohttp.ClientError, OSError) as error:
            raise PeerUnreachable(f"{ticket.agent.name} can't be reached: {error!r}.") from error

    async def probe_idle(self) -> None:
        """Measure the ways that are due, one after the other; one that can't be measured now is left as it is."""
        for agent in self.links.due():
            with contextlib.suppress(KvTransferError, OSError):
                async with asyncio.timeout(PROBE_S), self.streams.lend(agent) as stream:
                    with self.links.round_trip(agent):
                        await ask(stream, {"probe_bytes": 0}, 0, agent.name)
                    await ask(stream, {"probe_bytes": LIMIT_PROBE_BYTES}, LIMIT_PROBE_BYTES, agent.name)
                    with self.links.arriving(agent, LIMIT_PROBE_BYTES, probe=True):
                        await stream.receive(LIMIT_PROBE_BYTES)

    async def _attempt(
        self, ticket: Ticket, layout: Layout, into: memoryview, stripes: Sequence[Sequence[Box]], wait_s: float
    ) -> list[Tile]:
        """Ask for every stripe on a stream of its own; returns the tiles still missing. Raises when that is final."""
        receivers = [Receiver(ticket, layout, into, boxes) for boxes in stripes]
        try:
            async with asyncio.TaskGroup() as pulling:
                stripe_tasks = [pulling.create_task(self._stripe(receiver, wait_s)) for receiver in receivers]
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        return [tile for task in stripe_tasks for tile in task.result()]

    async def _stripe(self, receiver: Receiver, wait_s: float) -> list[Tile]:
        """The tiles that are still missing; all those after a stream's end are. Raises KvTransferError."""
        ticket = receiver.ticket
        question = {
            "ticket": ticket.ticket,
            "capability": ticket.capability,
            "tiles": [box.row for box in receiver.boxes],
            "wait_s": wait_s,
        }
        try:
            async with self.streams.lend(ticket.agent) as stream:
                await ask(stream, question, receiver.bytes, ticket.agent.name)
                with self.links.arriving(ticket.agent, receiver.bytes):
                    await receiver.receive(stream)
        except OSError:
            pass  # The stream broke off: what is missing says how far it got.
        return await receiver.finish()

    def _post(self, ticket: Ticket, path: str, body: Mapping[str, Any]) -> Any:
        assert self._session is not None, "start() comes first"
        scheme = "http" if self._ssl is None else "https"
        try:
            url = URL.build(scheme=scheme, host=ticket.agent.host, port=ticket.agent.port, path=path)
        except ValueError as error:
            raise PeerUnreachable(f"{ticket.agent.host!r} is no address: {error}.") from error
        name = None if self._ssl is None else ticket.agent.name
        return self._session.post(url, json=body, server_hostname=name, allow_redirects=False)


def stripes_of(layout: Layout) -> list[Box]:
    """A box cut between its layers into stripes of about as many bytes, each worth a stream."""
    box, count = layout.box, max(1, min(STRIPES, layout.size // STRIPE_BYTES))
    first, stop = box.layers
    cuts = sorted({first + (stop - first) * number // count for number in range(count + 1)})
    return [Box(layers, box.heads, box.groups) for layers in pairwise(cuts)]


def boxes_of(tiles: Sequence[Tile]) -> list[Box]:
    """Tiles, neighbours of a row together."""
    boxes: list[Box] = []
    for layer, head, group in sorted(tiles):
        last = boxes[-1] if boxes else None
        if last and (last.layers[0], last.heads[0], last.groups[1]) == (layer, head, group):
            boxes[-1] = Box(last.layers, last.heads, (last.groups[0], group + 1))
        else:
            boxes.append(Box((layer, layer + 1), (head, head + 1), (group, group + 1)))
    return boxes


async def _raise_for(response: aiohttp.ClientResponse, ticket: Ticket) -> None:
    if response.status != 200:
        text = (await response.text())[:200]
        kind = ERROR_OF_STATUS.get(response.status, PeerUnreachable)
        raise kind(f"{ticket.agent.name} answered {response.status}: {text}")
