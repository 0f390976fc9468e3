"""`Relay`: an agent's part in KV transfers. It owns the pool and the tickets, and moves tiles between agents.

Engines come through the Unix socket (`local.py`), other agents through streams (`pulls.py`), and it knows neither. All
of it runs in the agent's event loop; nothing here needs torch.
"""

import asyncio
import contextlib
import hmac
import secrets
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from planner.errors import KvTransferError
from runtime.messages import LinkHealth
from runtime.relay.chores import for_ever
from runtime.relay.client import PeerClient
from runtime.relay.pool import Pool, Region
from runtime.relay.reading import Reading
from runtime.relay.room import Room
from runtime.relay.shared import SharedFetches
from runtime.relay.streams import Streams
from runtime.relay.ticket import TICKET_TTL_S, AgentAddress, PoolFull, Ticket, WrongBinding
from runtime.relay.tickets import TicketTable
from runtime.tiles.box import Box
from runtime.tiles.format import KvFormat
from runtime.tiles.layout import Layout

SWEEP_S = 1.0
PROBE_TICK_S = 5.0


@dataclass(frozen=True, slots=True)
class RelayHealth:
    """The KV part of `AgentHealth`, by the same names. `kv` counts bytes and transfers since the agent started."""

    pool_bytes: int
    pool_used_bytes: int
    tickets: int
    kv: Mapping[str, float] = field(default_factory=dict)
    links: tuple[LinkHealth, ...] = ()


class Relay:
    """Start it before the agent's port opens, close it after the engines have stopped.

    `advertise` is the (host, port) at which other agents dial this one; port 0: they can't. `ssl_context` is for our
    own pulls: it holds this agent's certificate and trusts the deployment's authority; without it no agent is dialled.
    `on_refusal` is called with a replica and its engine's own name of a request that its connector can't have computed
    soon, and `on_ticket` with those of one whose ticket is reserved while it is computed, and the ticket as it is
    handed out.
    """

    def __init__(
        self,
        *,
        agent_name: str,
        advertise: tuple[str, int],
        pool_bytes: int,
        ssl_context: ssl.SSLContext | None,
        ticket_ttl_s: float = TICKET_TTL_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.agent_name = agent_name
        self.boot = secrets.token_hex(8)
        self.pool = Pool(pool_bytes)
        self.counts: dict[str, float] = defaultdict(float)
        self.on_refusal: Callable[[str, str], object] = lambda _replica, _request: None
        self.on_ticket: Callable[[str, str, Mapping[str, object]], object] = lambda _replica, _request, _ticket: None
        self._now = now
        self._tickets = TicketTable(AgentAddress(advertise[0], advertise[1], agent_name), ticket_ttl_s)
        self._client = PeerClient(ssl_context)
        self._room = Room(self.pool, lambda: self._tickets.bytes)
        self._fetches = SharedFetches(self._room.free)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        chores = (for_ever(SWEEP_S, self._swept), for_ever(PROBE_TICK_S, self._client.probe_idle))
        self._tasks = [asyncio.create_task(chore) for chore in chores]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._client.close()
        self.pool.close()

    @property
    def streams(self) -> Streams:
        """To other agents."""
        return self._client.streams

    @property
    def health(self) -> RelayHealth:
        kv = dict(sorted(self.counts.items()))
        return RelayHealth(self.pool.size, self.pool.used_bytes, len(self._tickets), kv, self._client.links.health)

    def reserve(
        self, kv_format: KvFormat, binding: str, *, owner: str, ranks: int, readers: int
    ) -> tuple[Ticket, Region]:
        """A pending ticket and the bytes its ranks encode into. Raises PoolFull."""
        region = self._room.for_ticket(Layout(kv_format, kv_format.whole).size)
        return self._ticket_in(region, kv_format, binding, owner=owner, ranks=ranks, readers=readers)

    async def reserve_soon(
        self, kv_format: KvFormat, binding: str, *, owner: str, ranks: int, readers: int, within_s: float
    ) -> tuple[Ticket, Region]:
        """`reserve`, after waiting that long at most for room. Raises PoolFull."""
        region = await self._room.for_ticket_soon(Layout(kv_format, kv_format.whole).size, within_s)
        return self._ticket_in(region, kv_format, binding, owner=owner, ranks=ranks, readers=readers)

    def _ticket_in(
        self, region: Region | None, kv_format: KvFormat, binding: str, *, owner: str, ranks: int, readers: int
    ) -> tuple[Ticket, Region]:
        if region is None:
            self.counts["tickets_refused_full"] += 1
            raise PoolFull(f"A ticket over {kv_format.tokens} tokens does not fit the pool of {self.pool.size} bytes.")
        try:
            ticket = self._tickets.add(
                kv_format, binding, region, owner=owner, ranks=ranks, readers=readers, now=self._now()
            )
        except KvTransferError:
            self._room.free(region)
            raise
        self.counts["tickets_reserved"] += 1
        return ticket, region

    def encoded(self, name: str, rank: int, seconds: float) -> None:
        """A rank has written its share of a ticket."""
        self.counts["encode_seconds"] += seconds
        self.counts["tickets_ready"] += self._tickets.encoded(name, rank, now=self._now())
        self._collect()

    def encoded_part(self, name: str, box: Box, seconds: float, *, owner: str, rank: int) -> None:
        """A rank has written some tiles of its share. Raises KvTransferError for what can't be."""
        self.counts["encode_seconds"] += seconds
        self._tickets.encoded_part(name, box, owner=owner, rank=rank, now=self._now())

    def encode_failed(self, name: str, rank: int, reason: str) -> None:
        self.counts["tickets_failed"] += self._tickets.fail(name, rank, reason)
        self._collect()

    def cancel(self, name: str, owner: str) -> None:
        """The engine that asked for a ticket gave up waiting for it: none of its ranks will write."""
        if self._tickets.cancel(name, owner):
            self.counts["tickets_cancelled"] += 1
        self._collect()

    def rank_gone(self, owner: str, rank: int) -> None:
        self.counts["tickets_failed"] += self._tickets.rank_gone(owner, rank)
        self._collect()

    def acknowledge(self, name: str, capability: str) -> None:
        """One reader of a ticket of ours is done. Raises UnknownTicket, WrongCapability."""
        self.counts["tickets_read"] += self._tickets.acknowledge(name, capability)
        self._collect()

    def drop(self, name: str, capability: str) -> None:
        """The request is over, whatever became of it. Raises UnknownTicket, WrongCapability."""
        self._tickets.drop(name, capability)
        self.counts["tickets_dropped"] += 1
        self._collect()

    def sweep(self) -> None:
        """Close what has expired."""
        if late := self._tickets.expire(now=self._now()):
            self.counts["tickets_expired"] += late
        self.streams.sweep()
        self._collect()

    @contextlib.asynccontextmanager
    async def reading(self, name: str, capability: str, binding: str, wait_s: float) -> AsyncIterator[Reading]:
        """The bytes of a ticket of ours, kept from being freed meanwhile; waits until some are encoded.

        `binding` is what the reader has found to be its own: what was changed on the way opens nothing.
        """
        entry = self._tickets.find(name, capability)
        if not hmac.compare_digest(entry.ticket.binding.encode(), binding.encode()):
            raise WrongBinding(f"Ticket {name} is over another model or other tokens than its reader's.")
        if entry.region is None:
            raise entry.failure
        entry.pulls += 1
        try:
            reading = Reading(entry, self.pool.view(entry.region), wait_s)
            await reading.begin()
            yield reading
        finally:
            self._tickets.end_pull(entry, now=self._now())
            self._collect()

    async def fetch(self, ticket: Ticket, box: Box, *, timeout_s: float) -> Region:
        """Tiles of a ticket, ours or another agent's, in a region that each caller releases. Raises KvTransferError.

        It is over when nothing has got on for `timeout_s`: no room, no ticket that is ready, no byte that came.
        """
        return await self._fetches.fetch(ticket, box, lambda: self._bring(ticket, box, timeout_s))

    def release(self, region: Region) -> None:
        """One reader of what was fetched is done."""
        self._fetches.release(region)

    async def _bring(self, ticket: Ticket, box: Box, timeout_s: float) -> Region:
        started, layout = time.monotonic(), Layout(ticket.format, box)
        region = await self._room.for_fetch(layout.size, timeout_s)
        if region is None:
            self.counts["fetches_failed_PoolFull"] += 1
            raise PoolFull(f"A fetch of {layout.size} bytes found no room in the pool of {self.pool.size} bytes.")
        try:
            if ticket.agent.name == self.agent_name:
                await self._copy(ticket, layout, region, timeout_s)
            else:
                again = await self._client.pull(ticket, layout, self.pool.view(region), timeout_s=timeout_s)
                self.counts["tiles_pulled_twice"] += again
                self.counts[f"received_bytes_{ticket.format.codec}"] += layout.size
        except BaseException as error:
            self._room.free(region)
            self.counts[f"fetches_failed_{type(error).__name__}"] += 1
            raise
        self.counts["fetches_done"] += 1
        self.counts["fetch_seconds"] += time.monotonic() - started
        return region

    async def acknowledge_at_source(self, ticket: Ticket) -> None:
        """Say to whoever holds the ticket that we are done. It expires by itself where that fails."""
        try:
            if ticket.agent.name == self.agent_name:
                self.acknowledge(ticket.ticket, ticket.capability)
            else:
                await self._client.acknowledge(ticket)
        except KvTransferError:
            self.counts["acks_failed"] += 1

    def renew(self, tickets: Iterable[tuple[str, str]]) -> None:
        """Readers still wait for tickets of ours, given by name and capability; those that are gone are gone."""
        for name, capability in tickets:
            with contextlib.suppress(KvTransferError):
                self._tickets.renew(name, capability, now=self._now())
                self.counts["tickets_renewed"] += 1

    async def renew_at_source(self, agent: AgentAddress, tickets: Sequence[tuple[str, str]]) -> None:
        """Say to the agent that holds these tickets that requests here wait for them."""
        try:
            if agent.name == self.agent_name:
                self.renew(tickets)
            else:
                await self._client.renew(agent, tickets)
        except KvTransferError:
            self.counts["renewals_failed"] += 1

    async def _copy(self, ticket: Ticket, layout: Layout, region: Region, wait_s: float) -> None:
        async with self.reading(ticket.ticket, ticket.capability, ticket.binding, wait_s) as reading:
            if reading.ticket.format != ticket.format:
                raise KvTransferError(f"Ticket {ticket.ticket} is over {reading.ticket.format}, not {ticket.format}.")
            await reading.copy(layout, self.pool.view(region))
        self.counts[f"copied_bytes_{ticket.format.codec}"] += layout.size

    def _collect(self) -> None:
        for region in self._tickets.collect():
            self._room.free(region)

    async def _swept(self) -> None:
        self.sweep()
