"""Takes connections that begin with TLS. Who shakes hands has a place like who asks: a crowd of the mute has no more.

An event loop's own server knows of a connection when its handshake is over.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable

log = logging.getLogger(__name__)

HANDSHAKE_S = 10.0
CROWDED_S = 0.2


class TlsListener:
    """Accepts on a bound socket until closed, where there is room; `connected` makes what serves a connection."""

    def __init__(
        self,
        bound: socket.socket,
        context: ssl.SSLContext,
        *,
        backlog: int,
        has_room: Callable[[], bool],
        connected: Callable[[], asyncio.Protocol],
    ) -> None:
        bound.setblocking(False)
        bound.listen(backlog)
        self._bound = bound
        self._context = context
        self._has_room = has_room
        self._connected = connected
        self._loop = asyncio.get_running_loop()
        self._shaking: set[asyncio.Task[None]] = set()
        self._accepting = self._loop.create_task(self._accept())

    @property
    def under_way(self) -> int:
        """Handshakes that are neither done nor given up."""
        return len(self._shaking)

    def close(self) -> None:
        for task in (self._accepting, *self._shaking):
            task.cancel()
        self._bound.close()

    async def _accept(self) -> None:
        while True:
            try:
                connection, _ = await self._loop.sock_accept(self._bound)
            except OSError as error:  # Out of files, or the caller has gone.
                log.warning("can't accept a connection: %s", error)
                await asyncio.sleep(CROWDED_S)
                continue
            if not self._has_room():
                connection.close()
                continue
            task = self._loop.create_task(self._shake_hands(connection))
            self._shaking.add(task)
            task.add_done_callback(self._shaking.discard)

    async def _shake_hands(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # no TLS, too slow, or gone: the caller knows
            await self._loop.connect_accepted_socket(
                self._connected, connection, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_S
            )
