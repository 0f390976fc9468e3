"""The agent's Unix socket for its engines' connectors: the server's side, in the agent's event loop.

On accept the agent sends a greeting with the pool's file descriptor. Then both sides send messages: four bytes of
length (big-endian) and a JSON object. A request has `id` and `call`; its answer has the same `id` and `ok`, and either
the result's fields or `error` and `message`. Nothing is executed or unpickled, and every length is bounded.

A connection is one process of an engine: its scheduler, or one rank. When it closes, what that process held is freed.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.errors import KvTransferError
from runtime.relay.tickets import Ticket, format_from_json
from runtime.tiles.box import Box

if TYPE_CHECKING:
    from runtime.relay.pool import Region
    from runtime.relay.relay import Relay

GREETING = struct.Struct(">4sBQ16s")
"""magic, version, bytes of the pool, boot id of the agent."""

MAGIC = b"THDR"
VERSION = 2
LENGTH = struct.Struct(">I")
LIMIT_MESSAGE_BYTES = 1 << 16
LIMIT_TIMEOUT_S = 300.0
CROWDED_S = 0.2

log = logging.getLogger(__name__)


class LocalDoor:
    """Accepts connectors. Only processes of the agent's own user are let in."""

    def __init__(self, relay: "Relay", path: str) -> None:
        self._relay = relay
        self._path = Path(path)
        self._tasks: set[asyncio.Task[None]] = set()
        self._ranks: Counter[tuple[str, int]] = Counter()
        self._listener: socket.socket | None = None

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        mask = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(mask)
        listener.listen(64)
        self._listener = listener
        self._keep(self._accept(listener))

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
            self._path.unlink(missing_ok=True)

    def connected(self, owner: str, ranks: int) -> bool:
        """Whether all ranks of an engine are here: only they can encode a ticket."""
        return all(self._ranks[owner, rank] > 0 for rank in range(ranks))

    def _keep(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:  # Out of file descriptors: engines try again, and so does this.
                log.warning("can't accept an engine: %s", error)
                await asyncio.sleep(CROWDED_S)
                continue
            if _peer_uid(connection) != os.getuid():
                connection.close()
                continue
            greeting = GREETING.pack(MAGIC, VERSION, self._relay.pool.size, self._relay.boot.encode())
            try:
                socket.send_fds(connection, [greeting], [self._relay.pool.fd])
            except OSError:
                connection.close()
                continue
            self._keep(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        visit = _Visit(self._relay, self, writer)
        try:
            async with asyncio.TaskGroup() as running:
                while True:
                    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                    if length > LIMIT_MESSAGE_BYTES:
                        break
                    visit.handle(json.loads(await reader.readexactly(length)), running)
                for task in list(visit.waiting):
                    task.cancel()
        except* (asyncio.IncompleteReadError, ConnectionError, ValueError, KeyError, TypeError):
            pass  # The process is gone, or speaks something else: either way this connection is over.
        finally:
            visit.leave()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def arrived(self, owner: str, rank: int) -> None:
        self._ranks[owner, rank] += 1

    def left(self, owner: str, rank: int) -> bool:
        """One connection of a rank ended. False when it had come back on another before that was seen."""
        self._ranks[owner, rank] -= 1
        if self._ranks[owner, rank]:
            return False
        del self._ranks[owner, rank]
        return True


class _Visit:
    """One connection: who it is, and the regions it has fetched and not released."""

    def __init__(self, relay: "Relay", door: LocalDoor, writer: asyncio.StreamWriter) -> None:
        self._relay = relay
        self._door = door
        self._writer = writer
        self._owner = ""
        self._replica = ""
        self._rank: int | None = None
        self._regions: list[Region] = []
        self.waiting: set[asyncio.Task[None]] = set()

    def handle(self, message: Mapping[str, Any], running: asyncio.TaskGroup) -> None:
        """Answer one message, some of them later. Raises KeyError, TypeError, ValueError for no message of ours."""
        number, call = int(message["id"]), str(message["call"])
        if call in ("ack", "fetch", "reserve"):
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
        if self._rank is not None and self._door.left(self._owner, self._rank):
            self._relay.rank_gone(self._owner, self._rank)

    def _at_once(self, call: str, message: Mapping[str, Any]) -> dict[str, Any]:
        match call:
            case "hello":
                self._owner, rank = str(message["owner"]), message["rank"]
                self._replica = str(message.get("replica", ""))
                if rank is not None:
                    self._rank = int(rank)
                    self._relay.rank_gone(self._owner, self._rank)  # What it began on another connection, it left.
                    self._door.arrived(self._owner, self._rank)
            case "encoded_part":
                name, box, rank = str(message["ticket"]), Box.from_row(message["box"]), self._own_rank()
                self._relay.encoded_part(name, box, float(message["seconds"]), owner=self._owner, rank=rank)
            case "encoded":
                self._relay.encoded(str(message["ticket"]), self._own_rank(), float(message["seconds"]))
            case "encode_failed":
                self._relay.encode_failed(str(message["ticket"]), self._own_rank(), str(message["reason"])[:200])
            case "cancel":
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
        if not self._door.connected(self._owner, ranks):
            raise KvTransferError(f"Not all {ranks} ranks of engine {self._owner} are connected to this agent.")
        ticket, region = await self._relay.reserve_soon(
            format_from_json(message["format"]),
            str(message["binding"]),
            owner=self._owner,
            ranks=ranks,
            readers=int(message["readers"]),
            within_s=max(0.0, min(within_s, LIMIT_TIMEOUT_S)),
        )
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


def _peer_uid(connection: socket.socket) -> int:
    _pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)
