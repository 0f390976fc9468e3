"""How much of the server its callers may hold: so many connections, each for so long without a request under way.

A head that comes by the byte, an answer that nobody takes and a connection that is left open are all the same here:
free connections, which end when they have been free for `free_s`, and give way to new ones where there are too many,
those of the address with the most first. Bodies are read before a connection counts as busy, so slow ones hold
nothing either.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from thunderctl.api.handlers import Handler
from thunderctl.api.refusals import Refusal

KEEPALIVE_S = 15.0
"""aiohttp itself closes what has been answered and is asked nothing for so long; `free_s` is for all else."""
FIELD_BYTES, FIELDS = 4096, 64
"""Of a request's head: the most that a header may take, and how many there may be. Browsers send some 20."""


@dataclass(frozen=True, slots=True)
class Limits:
    connections: int = 256
    free_s: float = 30.0
    body_s: float = 15.0


class Connection(asyncio.Protocol):
    """One caller's, around the protocol that answers it (`inner`)."""

    def __init__(self, bounds: "Bounds", inner: asyncio.Protocol) -> None:
        self.address = ""
        self.inner = inner
        self._bounds = bounds
        self.transport: asyncio.Transport | None = None
        self._ending: asyncio.TimerHandle | None = None
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.address = str((transport.get_extra_info("peername") or ("",))[0])
        self.inner.connection_made(transport)
        self._bounds.came(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_counting()
        self._bounds.went(self)
        self.inner.connection_lost(exc)

    def end_in(self, seconds: float) -> None:
        self.stop_counting()
        self._ending = asyncio.get_running_loop().call_later(seconds, self.end)

    def stop_counting(self) -> None:
        if self._ending is not None:
            self._ending.cancel()

    def end(self) -> None:
        if self.transport is not None:
            self.transport.abort()


@dataclass(slots=True, eq=False)
class Bounds:
    """One server's connections. `counted` is told how many there are."""

    limits: Limits = field(default_factory=Limits)
    counted: Callable[[int], object] = lambda _: None
    _held: dict[asyncio.BaseTransport | None, Connection] = field(default_factory=dict)
    _free: dict[Connection, None] = field(default_factory=dict)
    """Those without a request under way, the one that is so longest first."""

    def __len__(self) -> int:
        return len(self._held)

    def around(self, make: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """What makes protocols for connections, each within these bounds."""
        return lambda: Connection(self, make())

    def has_room(self, under_way: int = 0) -> bool:
        """Whether one more may be held beside those whose handshakes are `under_way`; a free one makes room."""
        if len(self._held) + under_way < self.limits.connections:
            return True
        crowd = Counter(one.address for one in self._held.values())
        given_up = max(self._free, key=lambda one: crowd[one.address], default=None)
        if given_up is None:
            return False
        given_up.end()
        self.went(given_up)
        return True

    def came(self, one: Connection) -> None:
        if not self.has_room():
            one.end()
            return
        self._held[one.transport] = one
        self._is_free(one)
        self.counted(len(self._held))

    def went(self, one: Connection) -> None:
        self._held.pop(one.transport, None)
        self._free.pop(one, None)
        self.counted(len(self._held))

    @web.middleware
    async def serve(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Read the body, and hold the connection for as long as it takes to make an answer."""
        await self._read(request)
        one = self._held.get(request.transport)
        if one is None:  # it has gone, or nobody bounds it
            return await handler(request)
        one.stop_counting()
        self._free.pop(one, None)
        try:
            return await handler(request)
        finally:
            if one.transport in self._held:
                self._is_free(one)

    async def _read(self, request: web.Request) -> None:
        try:
            async with asyncio.timeout(self.limits.body_s):
                await request.read()
        except TimeoutError as error:
            said = f"The request's body did not come within {self.limits.body_s:g} s."
            raise Refusal(408, "SpecError", said, headers={"Connection": "close"}) from error

    def _is_free(self, one: Connection) -> None:
        self._free[one] = None
        one.end_in(self.limits.free_s)


BOUNDS = web.AppKey("bounds", Bounds)
