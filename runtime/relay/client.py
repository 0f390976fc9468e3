"""Ask other agents, over mutual TLS: pull tiles into a region of our own pool, acknowledge, and probe the way.

A stream is believed only where it is what was expected: the bytes of every tile are placed by computation, and a tile
whose header or checksum is wrong is asked for again, once. Large pulls from afar go over several streams at once.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise

from planner.errors import KvTransferError
from runtime.relay.exchange import LIMIT_PROBE_BYTES, PeerUnreachable, ask
from runtime.relay.links import LinkMeter
from runtime.relay.patience import longest_s, standing_still
from runtime.relay.receiver import Receiver
from runtime.relay.streams import Streams
from runtime.relay.ticket import AgentAddress, Ticket
from runtime.tiles.box import Box, Tile
from runtime.tiles.layout import Layout

STRIPES = 4
"""Streams of one pull from far away, where a single TCP connection is held back by its window or a lost packet."""

STRIPE_BYTES = 4 << 20
"""From here on a second stream is worth asking twice."""

TELL_S = 5.0

ANSWER_S = 1.0
"""For the way there and back, beyond the time that the other agent waits for a ticket to be encoded."""

PROBE_S = 10.0


class PeerClient:
    """What this agent asks others. Without an ssl context none can be dialled (tests of one agent)."""

    def __init__(self, ssl_context: ssl.SSLContext | None) -> None:
        self.streams = Streams(ssl_context)
        self.links = LinkMeter()

    def close(self) -> None:
        self.streams.close()

    async def pull(self, ticket: Ticket, layout: Layout, into: memoryview, *, timeout_s: float) -> int:
        """Fetch the tiles of `layout` into `into`; returns how many had to be asked for twice.

        Given up when nothing comes for `timeout_s`. When it returns or raises, nothing writes to `into` any more.
        """
        most = 1 if self.streams.is_near(ticket.agent) else len(stripes_of(layout))
        with self.streams.share(ticket.agent, most) as share:
            stripes = [[box] for box in stripes_of(layout, share)]
            missing = await self._attempt(ticket, layout, into, stripes, timeout_s)
        again = len(missing)
        if missing:
            missing = await self._attempt(ticket, layout, into, [boxes_of(missing)], timeout_s)
        if missing:
            raise PeerUnreachable(f"{len(missing)} tiles of {ticket.agent.name} came damaged or not at all, twice.")
        return again

    async def acknowledge(self, ticket: Ticket) -> None:
        """Tell the agent of a ticket that one reader is done. Raises KvTransferError; its expiry then frees it."""
        await self._tell(ticket.agent, {"acknowledge": ticket.ticket, "capability": ticket.capability})

    async def renew(self, agent: AgentAddress, tickets: Sequence[tuple[str, str]]) -> None:
        """Tell an agent that tickets of its are waited for, given by name and capability. Raises KvTransferError."""
        await self._tell(agent, {"renew": tickets})

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

    async def _tell(self, agent: AgentAddress, question: Mapping[str, object]) -> None:
        try:
            async with self.streams.lend(agent, brief=True) as stream, asyncio.timeout(TELL_S):
                await ask(stream, question, 0, agent.name)
        except OSError as error:
            raise PeerUnreachable(f"{agent.name} can't be told: {error!r}.") from error

    @contextlib.contextmanager
    def _waiting(self, agent: AgentAddress, deadline: asyncio.Timeout) -> Iterator[None]:
        """While the other agent may have nothing to send: that is neither its slowness nor the way's."""
        with self.links.waiting(agent), standing_still(deadline):
            yield

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
            "binding": ticket.binding,
            "tiles": [box.row for box in receiver.boxes],
            "wait_s": wait_s,
        }
        longest = longest_s(receiver.bytes, wait_s)
        try:
            async with self.streams.lend(ticket.agent, wait_s) as stream, asyncio.timeout(longest) as deadline:
                await ask(stream, question, receiver.bytes, ticket.agent.name, wait_s + ANSWER_S)
                with self.links.arriving(ticket.agent, receiver.bytes):
                    await receiver.receive(stream, wait_s, partial(self._waiting, ticket.agent, deadline))
        except TimeoutError as error:  # The other streams to it are no better.
            raise PeerUnreachable(
                f"Nothing came from {ticket.agent.name} for {wait_s:g} s, or not all within {longest:.0f} s."
            ) from error
        except OSError:
            pass  # The stream broke off: what is missing says how far it got.
        return await receiver.finish()


def stripes_of(layout: Layout, most: int = STRIPES) -> list[Box]:
    """A box cut between its layers into stripes of about as many bytes, each worth a stream."""
    box, count = layout.box, max(1, min(most, layout.size // STRIPE_BYTES))
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
