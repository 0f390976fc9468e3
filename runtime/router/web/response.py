"""What a client is answered: whole, or as it comes."""

import functools
import json
import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from multidict import CIMultiDict

from runtime.router.web.request import Request


class StreamResponse:
    """An answer that comes piece by piece. Its head goes with the first piece, which spares a packet.

    Writing never waits, unlike aiohttp's, and raises ConnectionError once the client has gone; who writes much should
    `drain`.
    """

    def __init__(self, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.headers: CIMultiDict[str] = CIMultiDict(headers or {})
        self._request: Request | None = None
        self._head = b""
        self._closes = False
        self._is_chunked = False
        self._has_ended = False

    @property
    def prepared(self) -> bool:
        return self._request is not None

    @property
    def has_ended(self) -> bool:
        return self._has_ended

    def force_close(self) -> None:
        """End the connection with it."""
        self._closes = True

    def prepare(self, request: Request) -> None:
        """Settle the head. Without a length a client of HTTP/1.0 knows the end by that of the connection."""
        self._is_chunked = request.takes_chunks
        self._closes |= not request.takes_chunks
        self._settle(request, "Transfer-Encoding: chunked\r\n" if request.takes_chunks else "")

    def write(self, data: bytes) -> None:
        if data and self._request is not None and self._request.method != "HEAD":
            self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    async def drain(self, idle_s: float | None = None) -> None:
        """Wait until the client has taken most of what it was sent. Raises as the connection's does."""
        assert self._request is not None, "it is prepared"
        if self._request.connection.is_full:
            await self._request.connection.drain(idle_s)

    def write_eof(self) -> None:
        """Say that this was all, once."""
        if self._has_ended or self._request is None:
            return
        self._has_ended = True
        self._send(b"0\r\n\r\n" if self._is_chunked and self._request.method != "HEAD" else b"")
        if self._closes:
            self._request.connection.is_last = True

    def finish(self, request: Request) -> None:
        """Answer with it, as far as that is not done."""
        if self._request is None:
            self.prepare(request)
        self.write_eof()

    def _settle(self, request: Request, framing: str) -> None:
        self._request = request
        request.connection.on_head(request, self)
        if not (request.keeps and request.is_whole) or request.connection.is_last:
            self._closes = True
        if self._closes:
            framing += "Connection: close\r\n"
        elif not request.takes_chunks:
            framing += "Connection: keep-alive\r\n"
        self._head = self._rendered(framing)

    def _rendered(self, framing: str) -> bytes:
        lines = "".join([f"{name}: {value}\r\n" for name, value in self.headers.items()])
        if lines.count("\n") != len(self.headers) or lines.count("\r") != len(self.headers):
            raise ValueError("a header of an answer has more than one line")
        head = f"{_first_line(self.status)}{lines}{framing}Date: {_date(int(time.time()))}\r\n\r\n"
        return head.encode("utf-8", "surrogateescape")

    def _send(self, data: bytes) -> None:
        assert self._request is not None, "it is prepared"
        head, self._head = self._head, b""
        if head or data:
            self._request.connection.send(head + data if head else data)


class Response(StreamResponse):
    """An answer that is there as a whole. It goes out in one piece."""

    def __init__(self, *, body: bytes = b"", status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status=status, headers=headers)
        self.body = body

    def prepare(self, request: Request) -> None:
        self._settle(request, f"Content-Length: {len(self.body)}\r\n")

    def last_words(self) -> bytes:
        """It as the end of a connection on which nothing was asked that could be read."""
        return self._rendered(f"Content-Length: {len(self.body)}\r\nConnection: close\r\n") + self.body

    def finish(self, request: Request) -> None:
        if self._has_ended:
            return
        self.prepare(request)
        if request.method != "HEAD":
            self._head += self.body
        self.write_eof()


def json_response(data: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(data).encode()
    return Response(body=body, status=status, headers={"Content-Type": "application/json", **(headers or {})})


@functools.cache
def _first_line(status: int) -> str:
    known = {known.value: known.phrase for known in HTTPStatus}
    return f"HTTP/1.1 {status} {known.get(status, '')}\r\n"


@functools.lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
