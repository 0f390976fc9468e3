"""The sending side of tiles: answers other agents' questions on streams, straight out of the pool.

A reader that is mute or gone costs one waiting task and a socket's buffer, and that about as long as it would wait
itself: then its stream is closed, and the ticket's bytes can be freed. One that is slow has the time its bytes take.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from planner.errors import KvTransferError
from runtime.messages import AGENT_SUFFIX
from runtime.relay.exchange import LIMIT_PROBE_BYTES, announce, asked, refuse
from runtime.relay.patience import longest_s, standing_still
from runtime.relay.progress import Piece
from runtime.relay.reading import Reading
from runtime.relay.stream import Stream
from runtime.relay.ticket import Ticket, UnknownTicket
from runtime.tiles.box import Box
from runtime.tiles.layout import Layout

if TYPE_CHECKING:
    from runtime.relay.relay import Relay

log = logging.getLogger(__name__)

HANDSHAKE_S = 10.0
KEEPALIVE_S = 120.0
LIMIT_BOXES = 8192
LIMIT_WAIT_S = 60.0
BUFFERED = 2
"""A socket's buffer empties in bursts: a sender sees its reader get on this many times as late as the reader does."""

_NOISE = memoryview(bytes(LIMIT_PROBE_BYTES))


class PullServer:
    """Answers on streams of other agents, each until its end. `context` is the one for streams that they dialled."""

    def __init__(self, relay: "Relay", context: ssl.SSLContext) -> None:
        self._relay = relay
        self._context = context

    async def serve(self, connection: socket.socket, known: Callable[[], None]) -> None:
        """A stream whose dialler asks, from its handshake on; `known` is called once that is an agent.

        Whatever ends it ends it quietly: the dialler knows.
        """
        with contextlib.suppress(OSError, ValueError), contextlib.closing(Stream(connection, self._context)) as stream:
            await _caller(stream)
            known()
            await self.answer(stream)

    async def take_in(self, connection: socket.socket) -> None:
        """A stream whose dialler answers: it is kept, under the name in its certificate, for our own questions."""
        with contextlib.suppress(OSError), contextlib.ExitStack() as unless_kept:
            stream = unless_kept.enter_context(contextlib.closing(Stream(connection, self._context)))
            self._relay.streams.take_in(await _caller(stream), stream)
            unless_kept.pop_all()

    async def answer(self, stream: Stream) -> None:
        """Every question that comes on a stream. Raises OSError or ValueError: it ended, stalled, or asks nonsense."""
        while True:
            question = await asked(stream, KEEPALIVE_S)
            try:
                if "probe_bytes" in question:
                    await _probe(stream, question)
                elif "acknowledge" in question:
                    await self._acknowledge(stream, question)
                elif "renew" in question:
                    await self._renew(stream, question)
                else:
                    await self._pull(stream, question)
            except KvTransferError as error:
                await refuse(stream, error)

    async def _acknowledge(self, stream: Stream, question: dict[str, Any]) -> None:
        """Of a ticket that is gone already, too."""
        name, capability = _text(question, "acknowledge"), _text(question, "capability")
        with contextlib.suppress(UnknownTicket):
            self._relay.acknowledge(name, capability)
        await announce(stream, 0)

    async def _renew(self, stream: Stream, question: dict[str, Any]) -> None:
        try:
            tickets = [(str(name), str(capability)) for name, capability in question["renew"]]
        except (TypeError, ValueError) as error:
            raise KvTransferError(f"The question can't be read: {error!r}.") from error
        self._relay.renew(tickets)
        await announce(stream, 0)

    async def _pull(self, stream: Stream, question: dict[str, Any]) -> None:
        """Raises KvTransferError as long as no byte of an answer is out."""
        name, capability, binding = (_text(question, key) for key in ("ticket", "capability", "binding"))
        try:
            boxes = [Box.from_row(row) for row in _rows(question)]
            wait_s = max(0.0, min(float(question["wait_s"]), LIMIT_WAIT_S))
        except (KeyError, TypeError, ValueError) as error:
            raise KvTransferError(f"The question can't be read: {error!r}.") from error
        async with self._relay.reading(name, capability, binding, wait_s) as reading:
            size = _size(reading.ticket, boxes)
            try:
                async with asyncio.timeout(longest_s(size, wait_s)) as deadline:
                    await announce(stream, size)
                    async for piece in reading.pieces(boxes, partial(standing_still, deadline)):
                        await stream.send(memoryview(piece.bytes), BUFFERED * wait_s)
                        for view in self.views(reading, piece, boxes[piece.box]):
                            await stream.send(view, BUFFERED * wait_s)
            except BaseException as error:
                self._relay.counts["pulls_cut_off"] += 1
                if isinstance(error, KvTransferError):  # Too late to say why: its reader hears it when it asks again.
                    raise ConnectionAbortedError(error.message) from error
                raise
            self._relay.counts[f"sent_bytes_{reading.ticket.format.codec}"] += size

    def views(self, reading: Reading, piece: Piece, box: Box) -> Iterator[memoryview]:
        """The bytes of a piece, in order."""
        return reading.views(piece, box)


async def _caller(stream: Stream) -> str:
    """The agent that dialled, by its certificate and not by what it says. Raises OSError for anyone else."""
    async with asyncio.timeout(HANDSHAKE_S):
        await stream.shake_hands()
    agents = [name for name in stream.peer_names if name.endswith(AGENT_SUFFIX)]
    if len(agents) != 1:
        log.warning("refused a stream to %s", ", ".join(sorted(stream.peer_names)) or "a stranger")
        raise ConnectionRefusedError("only agents open streams")
    return agents[0]


async def _probe(stream: Stream, question: dict[str, Any]) -> None:
    """So many bytes of nothing, for measuring the way."""
    length = question["probe_bytes"]
    if type(length) is not int or not 0 <= length <= LIMIT_PROBE_BYTES:
        raise KvTransferError(f"A probe of {length!r:.40} bytes was asked for; expected 0 to {LIMIT_PROBE_BYTES}.")
    await announce(stream, length)
    await stream.send(_NOISE[:length])


def _size(ticket: Ticket, boxes: list[Box]) -> int:
    """Bytes of all boxes. Raises KvTransferError for tiles the ticket does not have, or has, but not as many times."""
    whole, size = Layout(ticket.format, ticket.format.whole).size, 0
    for box in boxes:
        size += Layout(ticket.format, box).size
        if size > whole:
            raise KvTransferError(f"{size} bytes of tiles and more were asked for; the ticket has {whole}.")
    return size


def _rows(question: dict[str, Any]) -> list[object]:
    rows = question["tiles"]
    if not isinstance(rows, list) or not 1 <= len(rows) <= LIMIT_BOXES:
        raise ValueError(f"tiles must be a list of 1 to {LIMIT_BOXES} boxes")
    return rows


def _text(question: dict[str, Any], key: str) -> str:
    value = question.get(key)
    if not isinstance(value, str):
        raise KvTransferError(f"A question has the {key} {value!r:.40}; expected a text.")
    return value
