"""Load: streamed completions whose tokens are timed as they come, by a client that costs the host little.

Engines on this host share its cores with whoever asks them, so an answer is not parsed: its events are counted.
"""

import asyncio
import json
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from planner.errors import HostError
from runtime.router.engines.framing import Body, parse_head
from thunderctl.secrets import Secret

EVENT, END = b"data: {", b"data: [DONE]"
"""What each event with tokens begins with, and the last one of all."""
SAID_BYTES = 400
CODE = re.compile(rb'"code":\s*"(\w+)"')
"""Of an error in OpenAI's form."""
VOCABULARY = range(10, 2000)
"""Tokens to draw prompts from: all models have these, and none of the first, which are special."""
PORTS = {"http": 80, "https": 443}


class NoAnswer(HostError):
    """A request that got no whole answer. `cause` is why, in a word or two, such as `503 overloaded` or `broke off`."""

    def __init__(self, message: str, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Door:
    """Where requests go: a base URL, or the Unix `socket` behind it; the key and the trust that it asks for."""

    endpoint: str
    api_key: Secret = field(default_factory=lambda: Secret(""))
    tls: ssl.SSLContext | None = None
    socket: str = ""

    def request(self, body: bytes) -> bytes:
        """A completion's request, ready to be sent."""
        url = urlsplit(self.endpoint)
        lines = [f"POST {url.path}/completions HTTP/1.1", f"Host: {url.netloc}", "Content-Type: application/json"]
        if self.api_key:
            lines.append(f"Authorization: Bearer {self.api_key.reveal()}")
        lines += ["Connection: close", f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode() + body


@dataclass(frozen=True, slots=True)
class Answer:
    """When a streamed answer came, in seconds since the request was sent, or due, and how many tokens it has."""

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
    """Ask `endpoint` (a base URL) to complete token ids by exactly so many tokens. Raises NoAnswer.

    `more` are further fields of what is asked. A server that listens on a Unix `socket` is reached there.
    """
    door = Door(endpoint, socket=socket)
    return await answer(door, door.request(asked(model, prompt, tokens, more)), tokens, within_s=within_s)


def asked(model: str, prompt: Sequence[int], tokens: int, more: Mapping[str, Any] = MappingProxyType({})) -> bytes:
    """The body that asks for exactly so many tokens after a prompt, as a stream."""
    exactly = {"max_tokens": tokens, "min_tokens": tokens, "ignore_eos": True, "temperature": 0, "stream": True}
    return json.dumps({"model": model, "prompt": list(prompt), **exactly, **more}).encode()


async def answer(
    door: Door, request: bytes, tokens: int, *, due_at: float | None = None, within_s: float = 600.0
) -> Answer:
    """Send a request and time its answer. Raises NoAnswer.

    Times count from when it was sent; from `due_at` (of `time.perf_counter`) where that is given, so that a wait for
    the connection, or for us, is the request's own.
    """
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    stream = _Stream(request, ended)
    try:
        async with asyncio.timeout(within_s):
            transport = await _connected(door, stream)
            try:
                await ended
            finally:
                transport.close()
    except (OSError, TimeoutError) as error:
        said = str(error) or "it took too long"
        cause = "took too long" if isinstance(error, TimeoutError) else stream.cause
        raise NoAnswer(f"{door.endpoint} gave no answer: {said}.", cause) from error
    if not stream.events or not stream.whole:
        raise NoAnswer(
            f"{door.endpoint} did not finish an answer of {tokens} tokens; it ended in {stream.said!r}.", stream.cause
        )
    since = stream.sent_at if due_at is None else due_at
    return Answer(stream.first_at - since, stream.last_at - since, tokens)


async def _connected(door: Door, stream: "_Stream") -> asyncio.BaseTransport:
    loop, url = asyncio.get_running_loop(), urlsplit(door.endpoint)
    if door.socket:
        transport, _ = await loop.create_unix_connection(lambda: stream, door.socket)
        return transport
    tls = (door.tls or ssl.create_default_context()) if url.scheme == "https" else None
    port = url.port or PORTS[url.scheme]
    transport, _ = await loop.create_connection(lambda: stream, url.hostname or "", port, ssl=tls)
    return transport


class _Stream(asyncio.Protocol):
    """One request and the server-sent events that answer it."""

    def __init__(self, request: bytes, ended: "asyncio.Future[None]") -> None:
        self._request, self._ended = request, ended
        self._head = self._tail = b""
        self._body: Body | None = None
        self.events = self.status = 0
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

    @property
    def cause(self) -> str:
        """Why it is no whole answer."""
        if self.status >= 400:
            code = CODE.search(self._tail)
            return f"{self.status} {code[1].decode()}" if code else str(self.status)
        return "no connection" if not self.sent_at else "broke off" if self.events else "no tokens"

    def _framed(self, data: bytes) -> bytes:
        """What is in the answer's body of what came."""
        if self._body is None:
            self._head, end, data = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                return b""
            self.status, headers, _ = parse_head(self._head)
            self._body = Body(self.status, headers)
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
