"""Pull tiles from another agent, over mutual TLS, into a region of our own pool.

A stream is believed only where it is what was expected: the bytes of every tile are placed by computation, and a tile
whose header or checksum is wrong is asked for again, once.
"""

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp
from yarl import URL

from planner.errors import KvTransferError
from runtime.relay.tickets import NotReady, Ticket, TicketFailed, UnknownTicket, WrongCapability
from runtime.tiles import BadFrame, Box, Layout, Tile, check

CHUNK_BYTES = 1 << 20
ERROR_OF_STATUS: dict[int, type[KvTransferError]] = {
    403: WrongCapability,
    404: UnknownTicket,
    410: TicketFailed,
    503: NotReady,
}


class PeerUnreachable(KvTransferError):
    """The other agent did not answer, or its stream broke off."""


class Receiver:
    """Takes a stream of frames in the order asked for, puts each in its place, and says which did not arrive well."""

    def __init__(self, ticket: Ticket, layout: Layout, into: memoryview, tiles: Iterable[Tile]) -> None:
        self._ticket = ticket
        self._layout = layout
        self._into = into
        self._expected = [(tile, layout.offset(tile)) for tile in tiles]
        self._expected.reverse()
        self._filled = 0
        self._bad: list[Tile] = []

    @property
    def missing(self) -> list[Tile]:
        """Damaged tiles, and those that have not come."""
        return [*self._bad, *(tile for tile, _ in reversed(self._expected))]

    def feed(self, chunk: memoryview) -> None:
        """Raises BadFrame when there is more than was asked for."""
        while len(chunk):
            if not self._expected:
                raise BadFrame(f"A stream of tiles goes on for {len(chunk)} bytes more than was asked for.")
            tile, offset = self._expected[-1]
            length = self._layout.format.frame_bytes(tile.layer, tile.group)
            taken = min(len(chunk), length - self._filled)
            start = offset + self._filled
            self._into[start : start + taken] = chunk[:taken]
            self._filled += taken
            chunk = chunk[taken:]
            if self._filled == length:
                self._close(tile, self._into[offset : offset + length])

    def _close(self, tile: Tile, frame: memoryview) -> None:
        self._expected.pop()
        self._filled = 0
        try:
            check(frame, self._layout.format.prefix(tile, self._ticket.tag))
        except BadFrame:
            self._bad.append(tile)


class PeerClient:
    """Persistent sessions to other agents. Without an ssl context it speaks plain HTTP (tests of the parts only)."""

    def __init__(self, ssl_context: ssl.SSLContext | None) -> None:
        self._ssl = ssl_context
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._ssl or True, limit_per_host=8, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=30)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=CHUNK_BYTES)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def pull(self, ticket: Ticket, layout: Layout, into: memoryview, *, timeout_s: float) -> int:
        """Fetch the tiles of `layout` into `into`; returns how many had to be asked for twice."""
        try:
            async with asyncio.timeout(timeout_s):
                missing = await self._attempt(ticket, layout, into, list(layout.box.tiles()), [layout.box], timeout_s)
                again = len(missing)
                if missing:
                    boxes = [_box_of(tile) for tile in missing]
                    missing = await self._attempt(ticket, layout, into, missing, boxes, timeout_s)
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

    async def _attempt(
        self, ticket: Ticket, layout: Layout, into: memoryview, tiles: list[Tile], boxes: list[Box], wait_s: float
    ) -> list[Tile]:
        """Ask once for tiles; returns those that are still missing. Raises when asking again is pointless."""
        receiver = Receiver(ticket, layout, into, tiles)
        body = {
            "ticket": ticket.ticket,
            "capability": ticket.capability,
            "tiles": [box.row for box in boxes],
            "wait_s": wait_s,
        }
        try:
            async with self._post(ticket, "/kv/pull", body) as response:
                await _raise_for(response, ticket)
                async for chunk in response.content.iter_any():
                    receiver.feed(memoryview(chunk))
        except (aiohttp.ClientConnectorError, aiohttp.ClientConnectionResetError) as error:
            raise PeerUnreachable(f"{ticket.agent.name} can't be reached: {error!r}.") from error
        except (aiohttp.ClientError, ConnectionError):
            pass  # The stream broke off: what is missing says how far it got.
        return receiver.missing

    def _post(self, ticket: Ticket, path: str, body: Mapping[str, Any]) -> Any:
        assert self._session is not None, "start() comes first"
        scheme = "http" if self._ssl is None else "https"
        try:
            url = URL.build(scheme=scheme, host=ticket.agent.host, port=ticket.agent.port, path=path)
        except ValueError as error:
            raise PeerUnreachable(f"{ticket.agent.host!r} is no address: {error}.") from error
        name = None if self._ssl is None else ticket.agent.name
        return self._session.post(url, json=body, server_hostname=name, allow_redirects=False)


async def _raise_for(response: aiohttp.ClientResponse, ticket: Ticket) -> None:
    if response.status != 200:
        text = (await response.text())[:200]
        kind = ERROR_OF_STATUS.get(response.status, PeerUnreachable)
        raise kind(f"{ticket.agent.name} answered {response.status}: {text}")


def _box_of(tile: Tile) -> Box:
    return Box((tile.layer, tile.layer + 1), (tile.head, tile.head + 1), (tile.group, tile.group + 1))
