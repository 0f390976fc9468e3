"""Takes clients' connections, lets none be idle for long, and lets those that are busy finish."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial

from runtime.router.settings import RouterSettings
from runtime.router.web.connection import ClientConnection
from runtime.router.web.handshakes import TlsListener
from runtime.router.web.reading import Unreadable
from runtime.router.web.request import Request
from runtime.router.web.response import Response, StreamResponse

Handler = Callable[[Request], Awaitable[StreamResponse]]

BACKLOG = 2048
SWEEPS = 4
"""So many times in the span that a connection may be idle, or a head may take, it is looked for those that are late."""


class Server:
    """Answers requests by `handle`. `refuse` makes an answer of a status and a reason; `on_head` sees every other one
    before its head is sent. Beyond `most_connections` a new one takes the place of the one longest free.
    """

    def __init__(
        self,
        handle: Handler,
        settings: RouterSettings,
        *,
        most_connections: int,
        refuse: Callable[[int, str], Response],
        on_head: Callable[[Request, StreamResponse], None],
    ) -> None:
        self.settings = settings
        self.on_head = on_head
        self.connections: set[ClientConnection] = set()
        self.free: dict[ClientConnection, None] = {}
        """Those that wait for a request, the one that waits longest first."""
        self._most_connections = most_connections
        self._handle = handle
        self._refuse = refuse
        self._listener: asyncio.Server | TlsListener | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def listen(self, bound: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Take connections. They inherit the socket's options: who is gone without a word is noticed."""
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.settings.send_buffer_bytes)
        loop = asyncio.get_running_loop()
        if tls is None:
            self._listener = await loop.create_server(partial(ClientConnection, self), sock=bound, backlog=BACKLOG)
        else:
            connected = partial(ClientConnection, self, has_place=True)
            self._listener = TlsListener(bound, tls, backlog=BACKLOG, has_room=self.has_room, connected=connected)
        self._sweeper = loop.create_task(self._sweep())

    def has_room(self) -> bool:
        """Whether one more connection may be held; one that is free makes room."""
        shaking = self._listener.under_way if isinstance(self._listener, TlsListener) else 0
        if len(self.connections) + shaking < self._most_connections:
            return True
        longest = next(iter(self.free), None)
        if longest is None:
            return False
        self.connections.discard(longest)
        del self.free[longest]
        longest.transport.abort()
        return True

    async def answer(self, request: Request) -> StreamResponse:
        if request.headers.get("Expect", "100-continue").lower() != "100-continue":
            return self._refuse(417, "Of what a client may expect, 100-continue alone is known.")
        return await self._handle(request)

    def refused(self, error: Unreadable) -> Response:
        return self._refuse(error.status, error.message)

    async def close(self, within_s: float) -> None:
        """Take no more connections and requests; what is answered may be finished within so long."""
        if self._listener is None or self._sweeper is None:
            return
        self._listener.close()
        self._sweeper.cancel()
        for connection in list(self.connections):
            connection.close_when_free()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.connections:
                    await asyncio.sleep(within_s / 20)
        for connection in list(self.connections):
            connection.break_off()
        await asyncio.sleep(0)  # lets what was cancelled and closed end before the loop does

    async def _sweep(self) -> None:
        idle_s, head_s = self.settings.client_idle_s, self.settings.head_s
        while True:
            await asyncio.sleep(min(idle_s, head_s) / SWEEPS)
            for connection in list(self.connections):
                if connection.is_overdue(idle_s=idle_s, head_s=head_s):
                    connection.expire()
