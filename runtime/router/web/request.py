"""A client's request: its head at once, its body as it comes."""

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Callable

    from multidict import CIMultiDict

    from runtime.router.web.connection import ClientConnection

Kept = TypeVar("Kept")
UNREAD_LIMIT = 64 * 1024
"""What may come of bodies that nobody asked for yet, in bytes of a connection."""


class BodyTooLarge(Exception):
    """The body is longer than the server takes."""


class BodyUnreadable(Exception):
    """The body's framing is none, or its client went in the middle of it."""


class RequestKey(Generic[Kept]):
    """What a value of a type is kept under with a request. The type may be named for checkers alone."""

    def __init__(self, name: str, kind: type[Kept] | None = None) -> None:
        self.name = name
        self.kind = kind


class Request:
    """What was asked, on which `connection`. `path` is decoded and without its query, `target` is all that was said.

    `keeps`: the client would ask again on this connection. `takes_chunks`: it speaks HTTP/1.1. Values are kept with it
    under keys, for those that see it later.
    """

    __slots__ = ("_body", "_is_broken", "_kept", "_limit", "_waiter", "connection", "headers", "is_too_large",
                 "is_whole", "keeps", "method", "on_data", "path", "takes_chunks", "target")  # fmt: skip

    def __init__(
        self,
        connection: "ClientConnection",
        method: str,
        path: str,
        headers: "CIMultiDict[str]",
        *,
        target: bytes = b"",
        keeps: bool,
        takes_chunks: bool,
        limit: int,
    ) -> None:
        self.connection = connection
        self.method = method
        self.path = path
        self.target = target
        self.headers = headers
        self.keeps = keeps
        self.takes_chunks = takes_chunks
        self.is_whole = False
        length = headers.get("Content-Length", "")
        self.is_too_large = length.isdecimal() and int(length) > limit
        self._limit = limit
        self.on_data: Callable[[bytes], object] | None = None
        self._is_broken = False
        self._body = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._kept: dict[RequestKey[Any], Any] = {}

    def __getitem__(self, key: RequestKey[Kept]) -> Kept:
        return cast("Kept", self._kept[key])

    def __setitem__(self, key: RequestKey[Kept], value: Kept) -> None:
        self._kept[key] = value

    def get(self, key: RequestKey[Kept]) -> Kept | None:
        return self._kept.get(key)

    @property
    def transport(self) -> asyncio.Transport:
        return self.connection.transport

    @property
    def remote(self) -> str:
        """The client's address, without its port."""
        name = self.transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def query(self) -> dict[str, str]:
        """What follows the path, by name; of several of a name the last."""
        return dict(parse_qsl(self.target.partition(b"?")[2].decode("latin-1"), keep_blank_values=True))

    @property
    def unread(self) -> bytearray:
        """What of the body is here."""
        return self._body

    @property
    def has_unread(self) -> bool:
        """Whether more of the body came than may wait for somebody to read it."""
        too_much = self.is_too_large or len(self._body) > UNREAD_LIMIT
        return too_much and self._waiter is None and not self.is_whole

    async def wait(self, within_s: float | None = None) -> None:
        """Wait until the whole body is there. Raises BodyTooLarge, BodyUnreadable, and TimeoutError."""
        if not self.is_whole:
            async with asyncio.timeout(within_s):
                await self._come()
        if self.is_too_large:
            raise BodyTooLarge
        if self._is_broken:
            raise BodyUnreadable

    async def read(self) -> bytes:
        """The whole body, once: it is kept no longer. Raises BodyTooLarge and BodyUnreadable."""
        await self.wait()
        body, self._body = bytes(self._body), bytearray()
        return body

    async def _come(self) -> None:
        """Wait until the body is whole, or will never be."""
        while not (self.is_whole or self.is_too_large or self._is_broken):
            self._waiter = asyncio.get_running_loop().create_future()
            self.connection.wants_body(self)
            try:
                await self._waiter
            finally:
                self._waiter = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body; of one that is too large none are kept."""
        if len(self._body) + len(data) > self._limit:
            self.is_too_large = True
            self._body.clear()
            self._wake()
        elif not self.is_too_large:
            self._body += data
            if self.on_data is not None:
                self.on_data(data)

    def end(self) -> None:
        """The body has come whole."""
        self.is_whole = True
        self._wake()

    def break_off(self) -> None:
        """The rest of it will not come."""
        self._is_broken = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
