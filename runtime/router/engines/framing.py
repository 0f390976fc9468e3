"""HTTP/1.1 as it comes over a connection: an answer's head, and the framing of its body. Pure.

What is wrong is said without a byte of what came: it may be words of a prompt.
"""

import re

LINE_LIMIT = 4 * 1024
BODYLESS = (204, 304)
CHUNK_HEAD = re.compile(rb"[ \t]*([0-9a-fA-F]{1,16})[ \t]*(?:;.*)?")


def parse_head(head: bytes) -> tuple[int, dict[str, str], bool]:
    """Status, headers by lower-case name, and whether the connection stays open. Raises ValueError."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0") or not rest[:3].isdecimal():
        raise ValueError("it begins with no status line")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError("a header has no colon")
        headers[name.lower()] = value.strip()
    keeps = headers.get("connection", "").lower()
    return int(rest[:3]), headers, keeps != "close" if version == "HTTP/1.1" else keeps == "keep-alive"


class Body:
    """Takes the framing off a body: by length, in chunks, or up to the connection's end."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        self._chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        length = headers.get("content-length")
        self.ends_with_the_connection = not self._chunked and length is None and status not in BODYLESS
        self._left = 0 if self._chunked or length is None or status in BODYLESS else _length(length)
        self._kept = b""
        self._after_chunk = self._in_trailers = False
        self.ended = not self._chunked and not self.ends_with_the_connection and self._left == 0

    def feed(self, data: bytes) -> bytes:
        """The body bytes in what came. Raises ValueError for framing that is none."""
        if self.ends_with_the_connection:
            return data
        if self._chunked:
            return self._dechunk(self._kept + data if self._kept else data)
        if len(data) > self._left:
            raise ValueError("its body is longer than its content-length")
        self._left -= len(data)
        self.ended = self._left == 0
        return data

    def _dechunk(self, data: bytes) -> bytes:
        pieces, at = [], 0
        self._kept = b""
        while at < len(data):
            if self.ended:
                raise ValueError("bytes follow its last chunk")
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self._after_chunk = self._left == 0
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._kept = data[at:]
                if len(self._kept) > LINE_LIMIT:
                    raise ValueError("a chunk's head is too long")
                break
            self._take_line(data[at:end])
            at = end + 2
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _take_line(self, line: bytes) -> None:
        if self._in_trailers:
            self.ended = not line
        elif self._after_chunk:
            if line:
                raise ValueError("a chunk is longer than it said")
            self._after_chunk = False
        else:
            self._left = _chunk_length(line)
            self._in_trailers = self._left == 0


def _chunk_length(line: bytes) -> int:
    if not (found := CHUNK_HEAD.fullmatch(line)):
        raise ValueError("a chunk's length is no number")
    return int(found[1], 16)


def _length(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("its content-length is no number")
    return int(text)
