"""An agent's one port: HTTP over TLS for control, streams for tiles. A dialler's first byte tells which."""

import asyncio
import contextlib
import logging
import socket
import ssl

from aiohttp import web

from runtime.relay.pulls import PullServer
from runtime.relay.stream import HELLO

log = logging.getLogger(__name__)

LIMIT_CONNECTIONS = 1024
FIRST_WORD_S = 10.0
CROWDED_S = 0.2


class SharedPort:
    """Accepts until closed. `runner` is set up, and makes what serves an HTTP connection."""

    def __init__(
        self, listener: socket.socket, runner: web.BaseRunner, pulls: PullServer, context: ssl.SSLContext
    ) -> None:
        self._listener = listener
        self._runner = runner
        self._pulls = pulls
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._listener.setblocking(False)
        self._listener.listen(128)
        self._accepting = asyncio.create_task(self._accept())

    async def close(self) -> None:
        """End the streams; HTTP connections are their server's to end."""
        if self._accepting is None:
            return
        tasks = [self._accepting, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError as error:  # Out of file descriptors, or the caller has gone.
                log.warning("can't accept a connection: %s", error)
                await asyncio.sleep(CROWDED_S)
                continue
            connection.setblocking(False)
            if len(self._tasks) >= LIMIT_CONNECTIONS:
                connection.close()
                continue
            task = asyncio.create_task(self._welcome(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _welcome(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            try:
                async with asyncio.timeout(FIRST_WORD_S):
                    is_stream = await _says_hello(loop, connection)
                if is_stream:
                    await self._pulls.serve(connection)
                else:
                    await loop.connect_accepted_socket(self._http(), connection, ssl=self._context)
            except BaseException:
                connection.close()
                raise

    def _http(self) -> web.Server:
        assert self._runner.server is not None, "the runner is set up first"
        return self._runner.server


async def _says_hello(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> bool:
    """Whether this becomes a stream; its HELLO has then been read, and of anything else nothing has."""
    arrived = asyncio.Event()
    loop.add_reader(connection, arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(connection)
    if connection.recv(1, socket.MSG_PEEK) != HELLO[:1]:
        return False
    said = b""
    while len(said) < len(HELLO) and (more := await loop.sock_recv(connection, len(HELLO) - len(said))):
        said += more
    if said != HELLO:
        raise ConnectionAbortedError(f"a stream begins with {said!r}")
    return True
