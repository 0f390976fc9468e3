"""Connections to engines, kept between requests: one request at a time on each."""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable

from runtime.router.engines.connection import Connection

LIMIT_CONNECTING = 16
"""At once, to one address. A handshake is milliseconds of work for the other end, and a crowd waits for all of it."""

HUNG_UP = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, ssl.SSLEOFError)
"""Somebody took the connection and let it go: it is there, unlike one that refuses."""


class ConnectionPool:
    """Connections to one address, the one used last first. `keep_s`: how long an idle one is trusted.

    So many connect at a time, and the others wait for their turn; where one fails, those fail with it that wait.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        server_name: str | None,
        connect_s: float,
        keep_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host, self._port = host, port
        self._tls = tls
        self._server_name = server_name
        self._connect_s = connect_s
        self._keep_s = keep_s
        self._now = now
        self._idle: deque[Connection] = deque()
        self._connecting = 0
        self._turns: deque[asyncio.Future[None]] = deque()
        self._closed = False

    async def take(self, *, fresh: bool = False) -> Connection:
        """An idle connection, or a new one. Raises OSError (ssl.SSLError among them), TimeoutError."""
        if not fresh and (kept := self._kept()) is not None:
            return kept
        await self._turn()
        try:
            kept = None if fresh else self._kept()  # given back meanwhile
            return kept or await self._connected()
        except OSError as error:
            while (turn := self._next()) is not None:
                turn.set_exception(error)
            raise
        finally:
            self._pass_on()

    def give_back(self, connection: Connection) -> None:
        """Keep it for another request, or end it."""
        if connection.may_be_kept() and not self._closed:
            connection.idle_since = self._now()
            self._idle.append(connection)
            self.tidy()
        else:
            connection.close()

    def tidy(self) -> None:
        """End what has been idle for too long; the other side may have gone without a word."""
        while self._idle and not (self._idle[0].is_open and self._is_trusted(self._idle[0])):
            self._idle.popleft().close()

    def close(self) -> None:
        """End what is idle at once, and what is in use when it is given back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and self._is_trusted(connection):
                return connection
            connection.close()
        return None

    async def _turn(self) -> None:
        """Wait to be one of those that connect. Raises what one of them failed of meanwhile."""
        if self._connecting < LIMIT_CONNECTING:
            self._connecting += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:  # It was ours already.
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """A turn is over: it is the next one's."""
        if (turn := self._next()) is not None:
            turn.set_result(None)
        else:
            self._connecting -= 1

    def _next(self) -> asyncio.Future[None] | None:
        """Who waits for a turn longest; who was cancelled is still in the row."""
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                return turn
        return None

    async def _connected(self) -> Connection:
        """A new one, tried twice where the other side hangs up: the replica is well if it then does not."""
        try:
            return await self._dialled()
        except HUNG_UP:
            return await self._dialled()

    async def _dialled(self) -> Connection:
        async with asyncio.timeout(self._connect_s):
            _, connection = await asyncio.get_running_loop().create_connection(
                Connection, self._host, self._port, ssl=self._tls, server_hostname=self._server_name
            )
        return connection

    def _is_trusted(self, connection: Connection) -> bool:
        return self._now() - connection.idle_since < self._keep_s
