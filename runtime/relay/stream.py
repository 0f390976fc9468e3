"""A TLS connection that many megabytes cross, in as few steps of Python and of the kernel as that can be.

asyncio's own TLS passes every byte through five buffers and two callbacks; here OpenSSL encrypts out of a memoryview
and decrypts into the place where the bytes belong, some hundred KB to one call of the kernel. Whoever reads slowly
holds one such buffer of the sender's, and no thread. A stream whose use was broken off, by an error, a deadline or a
cancellation, can't be used again: close it.
"""

import asyncio
import contextlib
import select
import socket
import ssl
from typing import Any, Self

TURN_BYTES = 256 << 10
"""What one stream may do before the others of the event loop have their turn: about a fifth of a millisecond."""

READ_BYTES = 128 << 10
STALL_S = 30.0
"""How long a peer may neither send nor take a byte."""

HELLO = b"THKV\x01"
"""What a dialler says first, in the clear: the port is shared with HTTP, and TLS itself begins with another byte."""


class Stream:
    """Ends with ConnectionError (also for TLS that is wrong) or TimeoutError, whichever call sees it."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, *, name: str | None = None) -> None:
        """`plain` is connected and does not block. `name` is whom it dialled; without, the other end dialled."""
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._plain = plain
        self._loop = asyncio.get_running_loop()
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._goes, server_side=name is None, server_hostname=name)
        self._buffer = memoryview(bytearray(READ_BYTES))

    @classmethod
    async def dial(cls, host: str, port: int, context: ssl.SSLContext, name: str) -> Self:
        """Connect to an agent whose certificate must hold `name`. Raises OSError too, for an address that is none."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        plain = socket.socket(family, kind, protocol)
        try:
            plain.setblocking(False)
            await loop.sock_connect(plain, address)
            await loop.sock_sendall(plain, HELLO)
            stream = cls(plain, context, name=name)
            await stream.shake_hands()
        except BaseException:
            plain.close()
            raise
        return stream

    async def shake_hands(self) -> None:
        """Before anything else, at both ends; `dial` has done it."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._more()
            except ssl.SSLError as error:
                await self._flush()  # It says why.
                raise ConnectionAbortedError(f"TLS failed: {error}") from error
            else:
                return await self._flush()

    @property
    def peer_names(self) -> frozenset[str]:
        """The DNS names in the other end's certificate."""
        certificate: Any = self._tls.getpeercert() or {}
        return frozenset(value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS")

    @property
    def quiet(self) -> bool:
        """Whether nothing has come since the last answer: an end of the stream, or what nobody asked for."""
        watch = select.poll()
        watch.register(self._plain, select.POLLIN)
        return not self._came.pending and not self._tls.pending() and not watch.poll(0)

    async def send(self, data: memoryview) -> None:
        for at in range(0, len(data), TURN_BYTES):
            self._tls.write(data[at : at + TURN_BYTES])
            await self._flush()
            await asyncio.sleep(0)

    async def receive_into(self, place: memoryview, within_s: float = STALL_S) -> None:
        """Fill all of it, in one turn of the event loop as far as it has arrived."""
        at = 0
        while at < len(place):
            try:
                taken: Any = self._tls.read(len(place) - at, place[at:])  # typeshed says bytes; with a buffer, int
            except ssl.SSLWantReadError:
                await self._more(within_s)
            except ssl.SSLError as error:
                raise ConnectionAbortedError(f"TLS failed: {error}") from error
            else:
                if not taken:
                    raise ConnectionResetError(f"the stream ended {len(place) - at} bytes early")
                at += taken

    async def receive(self, length: int, within_s: float = STALL_S) -> bytearray:
        data = bytearray(length)
        await self.receive_into(memoryview(data), within_s)
        return data

    def close(self) -> None:
        """Say goodbye if that is possible at once. Safe to repeat."""
        with contextlib.suppress(OSError):
            self._tls.unwrap()
        with contextlib.suppress(OSError):
            self._plain.send(self._goes.read())
        self._plain.close()

    async def _more(self, within_s: float = STALL_S) -> None:
        """What has arrived on the wire, up to a buffer; waits for a first byte."""
        await self._flush()
        async with asyncio.timeout(within_s):
            taken = await self._loop.sock_recv_into(self._plain, self._buffer)
        if not taken:
            raise ConnectionResetError("the connection ended")
        self._came.write(self._buffer[:taken])

    async def _flush(self) -> None:
        """Send what TLS has to say, each part within its time."""
        rest = memoryview(self._goes.read())
        while rest:
            try:
                rest = rest[self._plain.send(rest) :]
            except BlockingIOError:
                async with asyncio.timeout(STALL_S):
                    await self._loop.sock_sendall(self._plain, rest[: 16 << 10])
                rest = rest[16 << 10 :]
