"""The tickets that an agent keeps: what prefill hands out so that decode can fetch the KV.

A ticket starts pending. It is ready when every rank has encoded its share and failed when one could not. Its bytes are
freed when as many readers as it was made for have acknowledged it, when it is dropped, when it expires, or when it has
failed; but never while a rank may still write them or a pull is reading them.
"""

import asyncio
import hmac
import secrets
from dataclasses import dataclass, field
from enum import StrEnum

from planner.errors import KvTransferError
from runtime.relay.pool import Region
from runtime.relay.progress import Progress
from runtime.relay.ticket import AgentAddress, Ticket, TicketFailed, UnknownTicket, WrongCapability
from runtime.tiles.box import Box
from runtime.tiles.format import KvFormat
from runtime.tiles.frame import TAG_BYTES

LIMIT_READERS = 1024
LIMIT_RANKS = 4096
LONGEST_LIFE_S = 1800.0
"""So long readers may put off a ticket's end, from when it was made: what waits longer is computed anew."""


class State(StrEnum):
    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


@dataclass(slots=True)
class Entry:
    """One ticket in its agent's table. `writers` are the ranks that have not reported; `pulls` read the bytes now.

    A failed one has no `region` any more: it only says why, until it expires.
    """

    ticket: Ticket
    region: Region | None
    owner: str
    readers: int
    made_at: float
    expires_at: float
    writers: set[int]
    pulls: int = 0
    gone: bool = False
    state: State = State.PENDING
    reason: str = ""
    progress: Progress = field(init=False)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.progress = Progress(self.ticket.format)

    def tell(self) -> None:
        """Wake whoever waits for it to change."""
        self.changed.set()
        self.changed = asyncio.Event()

    @property
    def freeable(self) -> bool:
        """Whether nobody will write or read its bytes."""
        return (self.gone or self.state is State.FAILED) and not self.writers and not self.pulls

    @property
    def failure(self) -> TicketFailed:
        return TicketFailed(f"Ticket {self.ticket.ticket} could not be encoded: {self.reason}.")


class TicketTable:
    """The tickets of one agent. Time comes in as an argument; whoever calls frees the regions it gets back."""

    def __init__(self, address: AgentAddress, ttl_s: float) -> None:
        self._address = address
        self._ttl_s = ttl_s
        self._entries: dict[str, Entry] = {}

    def __len__(self) -> int:
        """Tickets that can still be pulled."""
        return sum(not entry.gone for entry in self._entries.values())

    @property
    def bytes(self) -> int:
        """Of the regions that are not freed yet."""
        return sum(entry.region.length for entry in self._entries.values() if entry.region is not None)

    def add(
        self, kv_format: KvFormat, binding: str, region: Region, *, owner: str, ranks: int, readers: int, now: float
    ) -> Ticket:
        """`owner` is the engine whose `ranks` ranks will encode it; `readers` acknowledgements free it."""
        if not 1 <= ranks <= LIMIT_RANKS or not 1 <= readers <= LIMIT_READERS:
            raise KvTransferError(
                f"A ticket for {ranks} ranks and {readers} readers was asked for; "
                f"expected 1 to {LIMIT_RANKS} and 1 to {LIMIT_READERS}."
            )
        name, capability = secrets.token_hex(TAG_BYTES), secrets.token_urlsafe(24)
        ticket = Ticket(name, self._address, capability, binding, kv_format)
        self._entries[name] = Entry(ticket, region, owner, readers, now, now + self._ttl_s, set(range(ranks)))
        return ticket

    def encoded_part(self, name: str, box: Box, *, owner: str, rank: int, now: float) -> None:
        """A rank that still has to has written these tiles. Raises KvTransferError where they can't be the next."""
        entry = self._entries.get(name)
        if entry is not None and entry.owner == owner and rank in entry.writers:
            entry.progress.add(box)
            entry.expires_at = max(entry.expires_at, now + self._ttl_s)
            entry.tell()

    def encoded(self, name: str, rank: int, *, now: float) -> bool:
        """A rank has written its share. True when that made the ticket ready; its time then starts again."""
        entry = self._entries.get(name)
        if entry is None:
            return False
        entry.writers.discard(rank)
        if entry.writers or entry.state is not State.PENDING:
            return False
        entry.state, entry.expires_at = State.READY, now + self._ttl_s
        entry.progress.finish()
        entry.tell()
        return not entry.gone

    def fail(self, name: str, rank: int, reason: str) -> bool:
        """A rank could not encode and writes no more. True when it is the ticket's first failure."""
        entry = self._entries.get(name)
        if entry is None:
            return False
        entry.writers.discard(rank)
        first = entry.state is State.PENDING
        if first:
            entry.state, entry.reason = State.FAILED, reason
            entry.tell()
        return first

    def cancel(self, name: str, owner: str) -> bool:
        """Its owner never got to know it: nobody will write or read it."""
        entry = self._entries.get(name)
        if entry is None or entry.owner != owner:
            return False
        entry.writers.clear()
        entry.gone = True
        entry.tell()
        return True

    def rank_gone(self, owner: str, rank: int) -> int:
        """A rank of an engine has died and writes no more. Returns how many tickets that fails."""
        waiting = [name for name, entry in self._entries.items() if entry.owner == owner and rank in entry.writers]
        return sum(self.fail(name, rank, f"rank {rank} of the prefill engine is gone") for name in waiting)

    def find(self, name: str, capability: str) -> Entry:
        """The ticket, for one who can prove to hold it."""
        entry = self._entries.get(name)
        if entry is None or entry.gone:
            raise UnknownTicket(f"Ticket {name} is not known here.", hint="It was read, dropped, or has expired.")
        if not hmac.compare_digest(entry.ticket.capability.encode(), capability.encode()):
            raise WrongCapability(f"The capability given does not belong to ticket {name}.")
        return entry

    def end_pull(self, entry: Entry, *, now: float) -> None:
        """A reader stops, perhaps to come back, or to leave the ticket to another: its time starts again."""
        entry.pulls -= 1
        entry.expires_at = max(entry.expires_at, now + self._ttl_s)

    def renew(self, name: str, capability: str, *, now: float) -> None:
        """A reader waits for its turn: its time starts again, within its longest life. Raises as `find` does."""
        entry = self.find(name, capability)
        entry.expires_at = max(entry.expires_at, min(now + self._ttl_s, entry.made_at + LONGEST_LIFE_S))

    def acknowledge(self, name: str, capability: str) -> bool:
        """One reader is done. True when it was the last one, and the ticket is gone."""
        entry = self.find(name, capability)
        entry.readers -= 1
        entry.gone = entry.readers <= 0
        return entry.gone

    def drop(self, name: str, capability: str) -> None:
        entry = self.find(name, capability)
        entry.gone = True
        entry.tell()

    def expire(self, *, now: float) -> int:
        """Close what has outlived its time and is not being read; returns how many."""
        late = [e for e in self._entries.values() if not e.gone and not e.pulls and e.expires_at <= now]
        for entry in late:
            entry.gone = True
            entry.tell()
        return len(late)

    def collect(self) -> list[Region]:
        """Forget tickets that nobody can use any more, and the bytes of failed ones; returns the regions to free."""
        over = [entry for entry in self._entries.values() if entry.freeable]
        regions = [entry.region for entry in over if entry.region is not None]
        for entry in over:
            entry.region = None
            if entry.gone:
                del self._entries[entry.ticket.ticket]
        return regions
