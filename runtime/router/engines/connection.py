"""HTTP/1.1 towards engines, no more of it than a leg needs: a POST, and its answer whole or as it comes.

aiohttp's client takes 110 µs of CPU for a request on the machine where this one takes 30, and a request has two legs:
that difference is most of what the router may add.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import cast

from runtime.router.engines.framing import Body, parse_head
from runtime.router.engines.waiting import Waiting

HEAD_LIMIT = 64 * 1024
UNREAD_LIMIT = READ_BYTES = 16 * 1024
"""What waits here for a client that is slow: twice this at most, and the rest in its engine."""
PROBE_IDLE_S, PROBE_EVERY_S, PROBES = 60, 20, 3
"""When the kernel asks whether the other side is still there: a machine that vanished is known to have after 2 min."""

OnInterim = Callable[[Mapping[str, str]], object]
Take = Callable[[bytes], bool]
"""Takes bytes of a body as they come; whether it takes more at once."""


class Broken(ConnectionError):
    """The connection ended, or what came over it is no HTTP. `unanswered`: before the first byte of an answer."""

    def __init__(self, reason: str, *, unanswered: bool = False) -> None:
        super().__init__(reason)
        self.unanswered = unanswered


class Connection(asyncio.BufferedProtocol):
    """One connection. `status` and `headers` (names in lower case) are of the answer under way.

    `heard_at` is when it last sent or got something, by the loop's clock.
    """

    _scratch = memoryview(bytearray(READ_BYTES))
    """One for all connections: what was read is taken out of it before anything else is."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.idle_since = 0.0
        self.heard_at = 0.0
        self.uses = 0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._body: Body | None = None
        self._head = b""
        self._pieces: list[bytes] = []
        self._unread = 0
        self._waiting = Waiting()
        self._taker: Take | None = None
        self._within_s = 0.0
        self._answering = False
        self._reusable = False
        self._on_interim: OnInterim | None = None
        self._spoke = False
        self._error: Broken | None = None

    @property
    def is_open(self) -> bool:
        return self._error is None

    async def ask(self, request: bytes, within_s: float, on_interim: OnInterim | None = None) -> None:
        """Send a whole request and wait for the head of its answer. Raises Broken, TimeoutError.

        `on_interim` hears the headers of an interim answer (1xx), should one come before.
        """
        assert not self._answering, "one request at a time"
        if self._error is not None or self._transport is None:
            raise self._error or Broken("it is not connected", unanswered=True)
        self._body, self._head, self._pieces, self._unread = None, b"", [], 0
        self._answering, self._reusable = True, False
        self._on_interim, self._spoke = on_interim, False
        self.uses += 1
        self._transport.write(request)
        self.heard_at = self._loop.time()
        deadline = self.heard_at + within_s
        while self._body is None:
            await self._news(deadline - self._loop.time())

    async def chunk(self, within_s: float) -> bytes:
        """The next bytes of the body, b"" at its end. Raises Broken, TimeoutError."""
        while not self._pieces:
            if not self._answering:
                return b""
            await self._news(within_s)
        return self._kept()

    async def pass_on(self, take: Take, within_s: float) -> bool:
        """Give the body to `take` as it comes: no task is woken for that. Whether there is more, which it takes later.

        Raises Broken, TimeoutError where nothing came for so long, and what `take` raises.
        """
        if self._pieces and not take(self._kept()):
            return True
        self._taker, self._within_s = take, within_s
        try:
            while self._answering and self._taker is not None:
                await self._news(within_s)
        finally:
            self._taker = None
        return self._answering

    async def whole(self, within_s: float) -> bytes:
        """The rest of the body. Raises Broken, TimeoutError."""
        deadline, parts = self._loop.time() + within_s, []
        while part := await self.chunk(deadline - self._loop.time()):
            parts.append(part)
        return b"".join(parts)

    def may_be_kept(self) -> bool:
        """Whether the answer has ended and another request may follow."""
        return self._reusable and not self._answering and self._error is None and not self._pieces

    def close(self) -> None:
        """End it at once: the engine hears of it even in the middle of a step."""
        if self._transport is not None:
            self._transport.abort()

    def give_up(self, reason: str) -> None:
        """Close it, and let whoever waits for it hear why."""
        self._fail(reason)
        self.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        plain = transport.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_IDLE_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_EVERY_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answering and self._body is not None and self._body.ends_with_the_connection:
            self._answering = False
        unanswered = self._answering and self._body is None and not self._head and not self._spoke
        self._fail(f"the connection ended: {exc}" if exc else "the connection ended", unanswered=unanswered)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        self._received(bytes(self._scratch[:nbytes]))

    def _received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        if not self._answering:
            self.give_up("bytes came that nobody asked for")
            return
        try:
            rest = data if self._body is not None else self._read_head(data)
            if self._body is not None and rest is not None:
                self._read_body(self._body, rest)
        except ValueError as error:
            self.give_up(f"the answer is no HTTP: {error}")
        if self._taker is None or not self._answering:
            self._waiting.wake()
        else:
            self._waiting.put_off(self.heard_at + self._within_s)

    def _read_head(self, data: bytes) -> bytes | None:
        """Take the head in, and return what follows it; None while it is not whole."""
        data = self._head + data if self._head else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > HEAD_LIMIT:
                raise ValueError("its head is too long")
            self._head = data
            return None
        self.status, self.headers, keeps = parse_head(data[:end])
        rest = data[end + 4 :]
        if self.status < 200:  # an interim answer: the real one follows
            self._head, self._spoke = b"", True
            if self._on_interim is not None:
                self._on_interim(self.headers)
            return self._read_head(rest)
        self._body = Body(self.status, self.headers)
        self._reusable = keeps and not self._body.ends_with_the_connection
        return rest

    def _read_body(self, body: Body, data: bytes) -> None:
        piece = body.feed(data)
        if piece and self._taker is not None:
            self._give(self._taker, piece)
        elif piece:
            self._keep(piece)
        if body.ended:
            self._answering = False

    def _give(self, take: Take, piece: bytes) -> None:
        """To one who takes it as it comes; who takes no more for now, or fails, is woken."""
        try:
            if take(piece):
                return
        except Exception as error:
            self._waiting.wake(error)
        self._taker = None

    def _keep(self, piece: bytes) -> None:
        self._pieces.append(piece)
        before, self._unread = self._unread, self._unread + len(piece)
        if before <= UNREAD_LIMIT < self._unread and self._transport is not None:
            self._transport.pause_reading()

    def _kept(self) -> bytes:
        """What came and nobody took, which may come again."""
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        if self._unread > UNREAD_LIMIT and self._transport is not None:
            self._transport.resume_reading()
        self._unread = 0
        return data

    async def _news(self, within_s: float) -> None:
        """Wait until something came."""
        if self._error is not None:
            raise self._error
        await self._waiting.until(self._loop.time() + within_s)

    def _fail(self, reason: str, *, unanswered: bool = False) -> None:
        if self._error is None:
            self._error = Broken(reason, unanswered=unanswered)
        self._waiting.close()
        self._waiting.wake()
