"""One connection of an engine's process to its agent: what it asks, and what is undone when it leaves."""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from planner.errors import KvTransferError
from runtime.relay.greeting import LENGTH
from runtime.relay.ranks import Ranks
from runtime.relay.relay import Relay
from runtime.relay.ticket import AgentAddress, Ticket, format_from_json
from runtime.tiles.box import Box

if TYPE_CHECKING:
    from runtime.relay.pool import Region

LIMIT_TIMEOUT_S = 300.0

log = logging.getLogger(__name__)


class Visit:
    """One connection: who it is, the regions it has fetched and not released, and the tickets it may not know of."""

    def __init__(self, relay: Relay, ranks: Ranks, writer: asyncio.StreamWriter) -> None:
        self._relay = relay
        self._ranks = ranks
        self._writer = writer
        self._owner = ""
        self._replica = ""
        self._rank: int | None = None
        self._regions: list[Region] = []
        self._offered: set[str] = set()
        self.waiting: set[asyncio.Task[None]] = set()

    def handle(self, message: Mapping[str, Any], running: asyncio.TaskGroup) -> None:
        """Answer one message, some of them later. Raises KeyError, TypeError, ValueError for no message of ours."""
        number, call = int(message["id"]), str(message["call"])
        if call in ("ack", "fetch", "renew", "reserve"):
            task = running.create_task(self._answer_later(number, call, message))
            self.waiting.add(task)
            task.add_done_callback(self.waiting.discard)
            return
        try:
            self._say(number, {"ok": True, **self._at_once(call, message)})
        except KvTransferError as error:
            self._say(number, {"ok": False, "error": error.kind, "message": error.message})

    def leave(self) -> None:
        for region in self._regions:
            self._relay.release(region)
        self._regions.clear()
        for name in self._offered:
            self._relay.cancel(name, self._owner)
        if self._rank is not None and self._ranks.left(self._owner, self._rank):
            self._relay.rank_gone(self._owner, self._rank)

    def _at_once(self, call: str, message: Mapping[str, Any]) -> dict[str, Any]:
        match call:
            case "hello":
                self._owner, rank = str(message["owner"]), message["rank"]
                self._replica = str(message.get("replica", ""))
                if rank is not None:
                    self._rank = int(rank)
                    self._relay.rank_gone(self._owner, self._rank)  # What it began on another connection, it left.
                    self._ranks.arrived(self._owner, self._rank)
            case "alive":
                pass
            case "encoded_part":
                name, box, rank = str(message["ticket"]), Box.from_row(message["box"]), self._own_rank()
                self._relay.encoded_part(name, box, float(message["seconds"]), owner=self._owner, rank=rank)
            case "encoded":
                self._relay.encoded(str(message["ticket"]), self._own_rank(), float(message["seconds"]))
            case "encode_failed":
                self._relay.encode_failed(str(message["ticket"]), self._own_rank(), str(message["reason"])[:200])
            case "taken":
                self._offered.discard(str(message["ticket"]))
            case "cancel":
                self._offered.discard(str(message["ticket"]))
                self._relay.cancel(str(message["ticket"]), self._owner)
            case "release":
                self._release(int(message["offset"]))
            case "note":
                self._relay.counts[f"engine_{str(message['what'])[:40]}"] += int(message.get("count", 1))
            case "refuse":
                self._relay.counts["engine_recompute_refused"] += 1
                self._relay.on_refusal(self._replica, str(message["request"]))
            case _:
                raise KvTransferError(f"This agent knows no call {call[:40]!r}.")
        return {}

    async def _answer_later(self, number: int, call: str, message: Mapping[str, Any]) -> None:
        try:
            match call:
                case "ack":
                    await self._relay.acknowledge_at_source(Ticket.from_json(message["ticket"]))
                    answer = {}
                case "fetch":
                    answer = await self._fetch(message)
                case "renew":
                    tickets = [(str(name), str(capability)) for name, capability in message["tickets"]]
                    await self._relay.renew_at_source(AgentAddress.from_json(message["agent"]), tickets)
                    answer = {}
                case _:
                    answer = await self._reserve(message)
            self._say(number, {"ok": True, **answer})
        except KvTransferError as error:
            self._say(number, {"ok": False, "error": error.kind, "message": error.message})
        except Exception as error:  # One call that goes wrong unforeseen is no reason to lose this engine's others.
            log.exception("a %s failed", call)
            self._say(number, {"ok": False, "error": "Unforeseen", "message": repr(error)})

    async def _reserve(self, message: Mapping[str, Any]) -> dict[str, Any]:
        ranks, within_s = int(message["ranks"]), float(message.get("within_s", 0.0))
        if not self._ranks.connected(self._owner, ranks):
            raise KvTransferError(f"Not all {ranks} ranks of engine {self._owner} are connected to this agent.")
        ticket, region = await self._relay.reserve_soon(
            format_from_json(message["format"]),
            str(message["binding"]),
            owner=self._owner,
            ranks=ranks,
            readers=int(message["readers"]),
            within_s=max(0.0, min(within_s, LIMIT_TIMEOUT_S)),
        )
        self._offered.add(ticket.ticket)
        document = ticket.to_json()
        if "request" in message:
            early = document | {"remote_prefill_cached_tokens": int(message["cached"])}
            self._relay.on_ticket(self._replica, str(message["request"]), early)
        return {"ticket": document, "offset": region.offset, "length": region.length, "boot": self._relay.boot}

    async def _fetch(self, message: Mapping[str, Any]) -> dict[str, Any]:
        timeout_s = max(0.0, min(float(message["timeout_s"]), LIMIT_TIMEOUT_S))
        ticket, box = Ticket.from_json(message["ticket"]), Box.from_row(message["box"])
        region = await self._relay.fetch(ticket, box, timeout_s=timeout_s)
        self._regions.append(region)
        return {"offset": region.offset, "length": region.length}

    def _release(self, offset: int) -> None:
        """One reading of a region is over; several requests may read it. Raises ValueError when none does."""
        at = [region.offset for region in self._regions].index(offset)
        self._relay.release(self._regions.pop(at))

    def _own_rank(self) -> int:
        if self._rank is None:
            raise ValueError("only a rank encodes")
        return self._rank

    def _say(self, number: int, answer: Mapping[str, Any]) -> None:
        data = json.dumps({"id": number, **answer}).encode()
        self._writer.write(LENGTH.pack(len(data)) + data)
