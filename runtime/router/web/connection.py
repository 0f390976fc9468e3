"""One client's connection: what is asked on it is answered in turn, and who goes takes what was asked with them."""

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, cast

from runtime.router.web.reading import RequestReader, Unreadable
from runtime.router.web.request import UNREAD_LIMIT, Request
from runtime.router.web.response import StreamResponse
from runtime.router.web.sending import untaken_bytes

if TYPE_CHECKING:
    from runtime.router.web.server import Server

log = logging.getLogger(__name__)

PIPELINED = 16
LINGER_S = 2.0
"""How long a client that still sends has to read the last words: to close at once would take them back."""


class ClientConnection(asyncio.Protocol):
    """Requests wait while one is answered. A handler runs in a task, which is cancelled when the client goes.

    `free_since` is since when all requests are answered, by the loop's clock; None while one is not. `head_since` is
    since when a request's head comes. `is_full`: the client is slow. `is_last`: the answer under way is the last on
    this connection. It `has_place` where room for it was made before.
    """

    transport: asyncio.Transport

    def __init__(self, server: "Server", *, has_place: bool = False) -> None:
        self.free_since: float | None = None
        self.head_since: float | None = None
        self.is_full = False
        self.is_last = False
        self._server = server
        self._has_place = has_place
        self._loop = asyncio.get_running_loop()
        self._reader = RequestReader(
            self,
            self._begun,
            line_limit=server.settings.max_header_bytes,
            body_limit=server.settings.max_body_bytes,
        )
        self._queue: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._refusal: Unreadable | None = None
        self._is_deaf = False
        self._is_paused = False
        self._said = False
        self._unsent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self.free_since = self._loop.time()
        if self._has_place or self._server.has_room():
            self._server.connections.add(self)
            self._server.free[self] = None
        else:
            self._is_deaf = True
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._server.free.pop(self, None)
        self._is_deaf = True
        self._queue.clear()
        self._reader.break_off()
        if self._task is not None:
            self._task.cancel()
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(ConnectionResetError("the client closed its connection"))

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        try:
            self._reader.feed(data)
        except Unreadable as error:
            self._refuse(error)
        if self._task is None:
            self._next()
        if not self._reader.is_within_head:
            self.head_since = None
        elif self.head_since is None:
            self.head_since = self._loop.time()
        if self._has_too_much and not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def drain(self, idle_s: float | None = None) -> None:
        """Wait until the client has taken most of what it was sent.

        Raises ConnectionError, and TimeoutError where it takes nothing for `idle_s`.
        """
        while self.is_full:
            if self.transport.is_closing():
                raise ConnectionResetError("the client closed its connection")
            self._drained, untaken = self._loop.create_future(), untaken_bytes(self.transport)
            try:
                async with asyncio.timeout(idle_s):
                    await self._drained
            except TimeoutError:
                if untaken_bytes(self.transport) >= untaken:
                    raise

    def send(self, data: bytes) -> None:
        """Send bytes of an answer. Raises ConnectionError."""
        if self.transport.is_closing():
            raise ConnectionResetError("the client closed its connection")
        self._said = True
        self.transport.write(data)

    def on_head(self, request: Request, response: StreamResponse) -> None:
        self._server.on_head(request, response)

    def is_overdue(self, *, idle_s: float, head_s: float) -> bool:
        """Whether it was free, or was read nothing on, for as long as any may be, or a head takes too long."""
        if self.free_since is None:
            return False
        now = self._loop.time()
        if now - self.free_since > idle_s:
            return True
        if self.head_since is None or self._task is not None:
            return False
        return now - max(self.head_since, self.free_since) > head_s

    def expire(self) -> None:
        """End it, which is overdue; one that was to end is cut off."""
        unsent, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        if self._unsent and self._unsent != unsent:
            self.free_since = self._loop.time()  # slow, but it reads
        elif self._task is None and not self._is_deaf and not self.is_last:
            self.close_when_free()
        else:
            self.transport.abort()

    def close_when_free(self) -> None:
        """Take no more requests; the one that is answered now is the last."""
        self.is_last = True
        if self._task is None:
            self.transport.close()

    def wants_body(self, request: Request) -> None:
        """Somebody reads the body of a request, and the client may be waiting to be told to go on."""
        self._resume()
        if request.headers.popall("Expect", None) is not None and request.takes_chunks:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def break_off(self) -> None:
        """Cancel what is answered, and close."""
        if self._task is not None:
            self._task.cancel()
        self.transport.abort()

    @property
    def _has_too_much(self) -> bool:
        """Whether more has come, of one body or of several in the queue, than may wait for somebody to read it."""
        return self._reader.has_unread or sum(len(request.unread) for request in self._queue) > UNREAD_LIMIT

    def _begun(self, request: Request) -> None:
        if len(self._queue) == PIPELINED:
            raise Unreadable(400, f"More than {PIPELINED} requests were sent before an answer.")
        self._queue.append(request)

    def _refuse(self, error: Unreadable) -> None:
        self._refusal = self._refusal or error
        self._is_deaf = True

    def _next(self) -> None:
        """Answer what was asked first; where nothing more can be asked, close."""
        if self._queue and not self.is_last:
            self.free_since = None
            self._server.free.pop(self, None)
            self._said = False
            self._task = self._loop.create_task(self._answer(self._queue.popleft()))
            if not self._has_too_much:
                self._resume()
        elif self.is_last:
            self._part()
        elif self._refusal is not None:
            self.transport.write(self._server.refused(self._refusal).last_words())
            self._part()
        elif self not in self._server.free:
            self.free_since = self._loop.time()
            self._server.free[self] = None

    async def _answer(self, request: Request) -> None:
        try:
            response = await self._server.answer(request)
            response.finish(request)
            if self.is_full:
                self.free_since = self._loop.time()
                await self.drain()
        except (ConnectionError, asyncio.CancelledError):  # the client has gone, or the server is to
            self.transport.abort()
        except Exception:
            log.exception("a request failed")
            self._fail()
        self._task = None
        if not self.transport.is_closing():
            self._next()

    def _fail(self) -> None:
        """Say so where no other answer has begun."""
        if self._said:
            self.transport.abort()
        else:
            self._queue.clear()
            self._refuse(Unreadable(500, "The router failed at this request."))

    def _part(self) -> None:
        """Close it once the client has read the last words, or has had time to."""
        self._is_deaf = True
        self.free_since = self._loop.time()
        if not self._reader.is_within_request and self._refusal is None:
            self.transport.close()
            return
        self._resume()
        with contextlib.suppress(OSError):  # it has gone already
            if self.transport.can_write_eof():
                self.transport.write_eof()
        self._loop.call_later(LINGER_S, self.transport.close)

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self.transport.resume_reading()
