"""Serves an application on a socket, within its bounds, over TLS or not. Who shakes hands has a place like who asks."""

import asyncio
import socket
import ssl

from aiohttp import web

from runtime.router.web.handshakes import TlsListener
from thunderctl.api.bounds import BOUNDS, FIELD_BYTES, FIELDS, KEEPALIVE_S

BACKLOG = 128
LINGER_S = 1.0
"""For the rest of a body that nobody reads: who still sends one would miss its answer."""
LAST_WORDS_S = 2.0
"""For requests under way, when it is closed."""


class Listener:
    """Open until closed. The socket is its own."""

    def __init__(self, app: web.Application) -> None:
        self._bounds = app[BOUNDS]
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=LAST_WORDS_S,
            keepalive_timeout=KEEPALIVE_S,
            max_field_size=FIELD_BYTES,
            max_headers=FIELDS,
            lingering_time=LINGER_S,
        )
        self._listening: asyncio.Server | TlsListener | None = None

    async def open(self, bound: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Take connections."""
        bound.setblocking(False)
        try:
            await self._runner.setup()
            assert self._runner.server is not None
            connected = self._bounds.around(self._runner.server)
            if tls is None:
                loop = asyncio.get_running_loop()
                self._listening = await loop.create_server(connected, sock=bound, backlog=BACKLOG)
            else:
                self._listening = TlsListener(bound, tls, backlog=BACKLOG, has_room=self._has_room, connected=connected)
        except BaseException:
            bound.close()
            await self.close()
            raise

    async def close(self) -> None:
        """Take none any more, and let what is under way be finished."""
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()

    def _has_room(self) -> bool:
        shaking = self._listening.under_way if isinstance(self._listening, TlsListener) else 0
        return self._bounds.has_room(shaking)
