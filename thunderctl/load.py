"""Load: streamed completions whose tokens are timed as they come, by a client that costs the host little.

Engines on this host share its cores with whoever asks them, so an answer is not parsed: its events are counted.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from planner.errors import HostError
from runtime.router.framing import Body, parse_head

EVENT, END = b"data: {", b"data: [DONE]"
"""What each event with tokens begins with, and the last one of all."""
SAID_BYTES = 400


@dataclass(frozen=True, slots=True)
class Answer:
    """When a streamed answer came, in seconds since the request was sent, and how many tokens it has."""

    first_s: float
    last_s: float
    tokens: int

    @property
    def ttft_s(self) -> float:
        return self.first_s

    @property
    def tpot_s(self) -> float:
        """Mean time of the tokens after the first; 0 where there are none."""
        return (self.last_s - self.first_s) / (self.tokens - 1) if self.tokens > 1 else 0.0


async def ask(
    endpoint: str,
    model: str,
    prompt: Sequence[int],
    tokens: int,
    *,
    more: Mapping[str, Any] = MappingProxyType({}),
    socket: str = "",
    within_s: float = 600.0,
) -> Answer:
    """Ask `endpoint` (a base URL) to complete token ids by exactly so many tokens. Raises HostError.

    `more` are further fields of what is asked. A server that listens on a Unix `socket` is reached there.
    """
    url = urlsplit(endpoint)
    asked = {"model": model, "prompt": list(prompt), "max_tokens": tokens, "min_tokens": tokens, "ignore_eos": True}
    body = json.dumps(asked | {"temperature": 0, "stream": True, **more}).encode()
    head = f"POST {url.path}/completions HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
    request = f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def stream_of() -> _Stream:
        return _Stream(request, ended)

    try:
        async with asyncio.timeout(within_s):
            if socket:
                transport, stream = await loop.create_unix_connection(stream_of, socket)
            else:
                transport, stream = await loop.create_connection(stream_of, url.hostname or "", url.port or 80)
            try:
                await ended
            finally:
                transport.close()
    except (OSError, TimeoutError) as error:
        raise HostError(f"{endpoint} gave no answer: {str(error) or 'it took too long'}.") from error
    if not stream.events or not stream.whole:
        raise HostError(f"{endpoint} did not finish an answer of {tokens} tokens; it ended in {stream.said!r}.")
    return Answer(stream.first_at - stream.sent_at, stream.last_at - stream.sent_at, tokens)


class _Stream(asyncio.Protocol):
    """One request and the server-sent events that answer it."""

    def __init__(self, request: bytes, ended: "asyncio.Future[None]") -> None:
        self._request, self._ended = request, ended
        self._head = self._tail = b""
        self._body: Body | None = None
        self.events = 0
        self.whole = False
        self.sent_at = self.first_at = self.last_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.sent_at = time.perf_counter()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        try:
            self._take(self._framed(data), now)
        except ValueError as error:
            self._end(OSError(f"what it says is no HTTP: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error)

    @property
    def said(self) -> str:
        """The end of what came."""
        return (self._head[:SAID_BYTES] + b" " + self._tail[-SAID_BYTES:]).decode(errors="replace")

    def _framed(self, data: bytes) -> bytes:
        """What is in the answer's body of what came."""
        if self._body is None:
            self._head, end, data = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                return b""
            status, headers, _ = parse_head(self._head)
            self._body = Body(status, headers)
        return self._body.feed(data)

    def _take(self, body: bytes, now: float) -> None:
        """A mark that comes in two pieces is seen with the second one."""
        joined = self._tail + body
        if came := joined.count(EVENT) - self._tail.count(EVENT):
            self.first_at = self.first_at if self.events else now
            self.last_at = now
            self.events += came
        self.whole = self.whole or END in joined
        self._tail = joined[-(len(END) - 1 if self.events else SAID_BYTES) :]

    def _end(self, error: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_result(None) if error is None else self._ended.set_exception(error)
