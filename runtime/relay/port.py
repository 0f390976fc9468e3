"""An agent's one port: HTTP over TLS for control, streams for tiles. A dialler's first word tells which."""

import asyncio
import contextlib
import logging
import socket
import ssl
from functools import partial

from aiohttp import web

from runtime.relay.pulls import PullServer
from runtime.relay.strangers import Strangers
from runtime.relay.stream import HELLO, HELLO_REVERSED

log = logging.getLogger(__name__)

LIMIT_CONNECTIONS = 2048
"""Streams and strangers."""

BACKLOG = 1024
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
        self._strangers = Strangers()
        self._accepting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._listener.setblocking(False)
        self._listener.listen(BACKLOG)
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
        while True:
            await _readable(self._listener)
            try:
                connection, caller = self._listener.accept()  # At once: a wait broken off here could lose a connection.
            except OSError as error:  # Out of file descriptors, or the caller has gone.
                log.warning("can't accept a connection: %s", error)
                await asyncio.sleep(CROWDED_S)
                continue
            connection.setblocking(False)
            if self._has_room_for(caller[0]):
                task = asyncio.create_task(self._welcome(connection))
                self._tasks.add(task)
                task.add_done_callback(partial(self._left, connection))
                self._strangers.add(task, caller[0])
            else:
                connection.close()

    def _has_room_for(self, address: str) -> bool:
        """After hanging up on a stranger, where they are many."""
        if len(self._tasks) >= LIMIT_CONNECTIONS:
            return False
        if not self._strangers.are_many:
            return True
        if (stranger := self._strangers.who_goes_for(address)) is not None:
            self._strangers.discard(stranger)
            stranger.cancel()
        return stranger is not None

    def _left(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._strangers.discard(task)
        if task.cancelled():  # Perhaps before it had begun.
            connection.close()

    async def _welcome(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            try:
                async with asyncio.timeout(FIRST_WORD_S):
                    word = await _first_word(connection)
                if word == HELLO:
                    await self._pulls.serve(connection, self._known)
                elif word == HELLO_REVERSED:
                    await self._pulls.take_in(connection)
                elif not word:
                    await loop.connect_accepted_socket(
                        self._http(), connection, ssl=self._context, ssl_handshake_timeout=FIRST_WORD_S
                    )
                else:
                    raise ConnectionAbortedError(f"a stream begins with {word!r}")
            except BaseException:
                connection.close()
                raise

    def _known(self) -> None:
        """In a connection's own task: its certificate is one of ours."""
        task = asyncio.current_task()
        assert task is not None, "connections are served in tasks"
        self._strangers.discard(task)

    def _http(self) -> web.Server:
        assert self._runner.server is not None, "the runner is set up first"
        return self._runner.server


async def _first_word(connection: socket.socket) -> bytes:
    """What a stream begins with, which has then been read; nothing of anything else has been, and it has no word."""
    await _readable(connection)
    if connection.recv(1, socket.MSG_PEEK) != HELLO[:1]:
        return b""
    loop, word = asyncio.get_running_loop(), b""
    while len(word) < len(HELLO) and (more := await loop.sock_recv(connection, len(HELLO) - len(word))):
        word += more
    return word


async def _readable(waited_for: socket.socket) -> None:
    loop, arrived = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(waited_for, arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(waited_for)
