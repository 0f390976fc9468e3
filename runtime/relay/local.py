"""The agent's Unix socket for its engines' connectors: the server's side, in the agent's event loop.

What is said on it: `greeting.py`. A connection is one process of an engine: its scheduler, or one rank. When it closes,
what that process held is freed.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from pathlib import Path
from typing import Any

from runtime.relay.greeting import GREETING, LENGTH, LIMIT_MESSAGE_BYTES, MAGIC, VERSION
from runtime.relay.ranks import Ranks
from runtime.relay.relay import Relay
from runtime.relay.visit import Visit

CROWDED_S = 0.2

log = logging.getLogger(__name__)


class LocalDoor:
    """Accepts connectors. Only processes of the agent's own user are let in."""

    def __init__(self, relay: Relay, path: str) -> None:
        self.path = path
        self.ranks = Ranks()
        self._relay = relay
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None

    async def start(self) -> None:
        Path(self.path).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        mask = os.umask(0o177)
        try:
            listener.bind(self.path)
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
            Path(self.path).unlink(missing_ok=True)

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
        visit = Visit(self._relay, self.ranks, writer)
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


def _peer_uid(connection: socket.socket) -> int:
    _pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)
