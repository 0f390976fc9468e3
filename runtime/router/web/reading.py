"""The bytes of a client's connection, read by llhttp, as requests; what is no request, with the status that says so."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

import httptools
from multidict import CIMultiDict

from runtime.router.web.request import Request

if TYPE_CHECKING:
    from runtime.router.web.connection import ClientConnection

HEAD_LINES = 4
"""A whole head may be as long as so many of its longest lines, and so may what stands between a body's chunks."""
FRAMING = 2
"""So many times its length a body in chunks may take."""


class Unreadable(Exception):
    """What came is no request that is taken: the connection ends with an answer of this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class RequestReader:
    """Gives a request to `begun` when its head is whole; its body follows into it. Lengths in bytes."""

    def __init__(
        self, connection: "ClientConnection", begun: Callable[[Request], None], *, line_limit: int, body_limit: int
    ) -> None:
        self._connection = connection
        self._begun = begun
        self._line_limit = line_limit
        self._body_limit = body_limit
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._fields: CIMultiDict[str] = CIMultiDict()
        self._body_bytes = 0
        self._bytes_beside = 0
        self._in_head = False
        self._in_body = False
        self._reading: Request | None = None
        self._error: Unreadable | None = None

    def feed(self, data: bytes) -> None:
        """Take what came. Raises Unreadable; then nothing more can be read."""
        try:
            self._feed(data)
        except Unreadable:
            self.break_off()
            raise

    @property
    def is_within_request(self) -> bool:
        """Whether the rest of one is still to come."""
        return self._in_body

    @property
    def is_within_head(self) -> bool:
        """Whether a request has begun, and its head is not whole yet."""
        return self._in_head

    @property
    def has_unread(self) -> bool:
        """Whether a body should not come any further: nobody reads it."""
        return self._reading is not None and self._reading.has_unread

    def break_off(self) -> None:
        """Nothing more will come."""
        if self._reading is not None:
            self._reading.break_off()

    def on_message_begin(self) -> None:
        """llhttp's calls from here on."""
        self._in_head, self._url, self._fields = True, b"", CIMultiDict()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # what follows a body is nobody's header
        if len(name) + len(value) > self._line_limit:
            self._error = self._error or _too_long()
        self._fields.add(name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body = False, True
        self._body_bytes = self._bytes_beside = 0
        if len(self._url) > self._line_limit:
            self._error = self._error or _too_long()
        parser = self._parser
        if self._error is not None or parser.should_upgrade():
            return
        request = Request(
            self._connection,
            parser.get_method().decode("latin-1"),
            _path(self._url),
            self._fields,
            target=self._url,
            keeps=parser.should_keep_alive(),
            takes_chunks=parser.get_http_version() == "1.1",
            limit=self._body_limit,
        )
        try:
            self._begun(request)
        except Unreadable as error:
            self._error = error
            raise  # which stops llhttp
        self._reading = request

    def on_body(self, data: bytes) -> None:
        self._bytes_beside = 0
        if self._reading is not None:
            self._reading.feed(data)

    def on_message_complete(self) -> None:
        self._in_body, self._bytes_beside = False, 0
        if self._reading is not None:
            self._reading.end()
            self._reading = None

    def _feed(self, data: bytes) -> None:
        self._body_bytes += len(data)
        self._bytes_beside += len(data)
        while data:
            data = self._unparsed(data)
        if self._error is not None:
            raise self._error
        if self._bytes_beside > HEAD_LINES * self._line_limit:
            raise _too_long()
        if self._in_body and self._body_bytes > FRAMING * self._body_limit + HEAD_LINES * self._line_limit:
            raise Unreadable(413, f"The body is larger than {self._body_limit} bytes.")

    def _unparsed(self, data: bytes) -> bytes:
        """Let llhttp read it; what it has to read once more."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return b"" if self._error else self._head_without_upgrade() + data[upgrade.args[0] :]
        except (httptools.HttpParserError, UnicodeError) as error:
            raise self._error or _unreadable() from error
        return b""

    def _head_without_upgrade(self) -> bytes:
        """The head that was read, for another parser: llhttp takes no body after one that names another protocol.

        A server may ignore what a client would rather speak (RFC 9110, 7.8); CONNECT is not to be ignored.
        """
        if self._fields.popall("Upgrade", None) is None:
            raise Unreadable(400, "This router speaks HTTP/1.1 and nothing else.")
        method, version = self._parser.get_method(), self._parser.get_http_version().encode()
        self._parser = httptools.HttpRequestParser(self)
        lines = [b"%b %b HTTP/%b" % (method, self._url, version)]
        for name, value in self._fields.items():
            lines.append(b"%b: %b" % (name.encode("latin-1"), value.encode("utf-8", "surrogateescape")))
        return b"\r\n".join([*lines, b"", b""])


def _path(url: bytes) -> str:
    """The path in a request's target, decoded. Raises HttpParserInvalidURLError."""
    if not url.startswith(b"/"):
        url = url if url == b"*" else httptools.parse_url(url).path or b"/"
    path = url.partition(b"?")[0].partition(b"#")[0].decode("utf-8", "surrogateescape")
    return unquote(path, errors="surrogateescape") if "%" in path else path


def _unreadable() -> Unreadable:
    return Unreadable(400, "This is no HTTP request that the router can read.")


def _too_long() -> Unreadable:
    return Unreadable(431, "A header, or the line before them, is longer than this router takes.")
