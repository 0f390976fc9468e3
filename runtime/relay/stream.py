"""A TLS connection that many megabytes cross, in as few steps of Python as that can be.

asyncio's own TLS passes every byte through five buffers and two callbacks; here OpenSSL reads from a socket that does
not block and decrypts into the place where the bytes belong, and encrypts out of a memoryview. Whoever reads slowly
holds a socket's buffer of the sender's, and no thread. A stream whose use was broken off, by an error, a deadline or a
cancellation, can't be used again: close it.
"""

import asyncio
import contextlib
import math
import select
import socket
import ssl
import struct
from typing import Any, Self

from runtime.relay.patience import STALL_S

TURN_BYTES = 512 << 10
"""What one stream may do before the others of the event loop have their turn: about half a millisecond."""

HELLO = b"THKV\x03"
"""What a dialler who will ask says first, in the clear: the port is HTTP's too, and TLS itself begins otherwise. The
last byte is another one whenever what follows is said in another way (1 and 2 were): agents of two kinds don't talk."""

HELLO_REVERSED = b"THKV\x04"
"""What a dialler who will answer says first."""

PROBE_IDLE_S = 10
LOST_AFTER_S = 15
"""The kernel probes a connection that is idle, which NAT then remembers; without an acknowledgement it ends it."""


TCP_MIN_RTT = struct.Struct("=148xI")
"""Where Linux has it in its `tcp_info`, since 4.9."""

BLOCKED = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Stream:
    """Ends with an OSError, whichever call sees it: TLS that is wrong, a connection that broke, a wait too long."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, *, name: str | None = None) -> None:
        """Takes `plain`, which is connected and does not block. `name` is whom it dialled; without, it was dialled."""
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_IDLE_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, LOST_AFTER_S // 3)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LOST_AFTER_S * 1000)
        self.received_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._tls = context.wrap_socket(
            plain,
            server_side=name is None,
            server_hostname=name,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
        )

    @classmethod
    async def dial(cls, host: str, port: int, context: ssl.SSLContext, name: str, hello: bytes = HELLO) -> Self:
        """Connect to an agent whose certificate must hold `name`. Raises OSError too, for an address that is none."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        plain = socket.socket(family, kind, protocol)
        try:
            plain.setblocking(False)
            await loop.sock_connect(plain, address)
            await loop.sock_sendall(plain, hello)
            stream = cls(plain, context, name=name)
        except BaseException:
            plain.close()
            raise
        try:
            await stream.shake_hands()
        except BaseException:
            stream.close()
            raise
        return stream

    async def shake_hands(self) -> None:
        """Before anything else, at both ends; `dial` has done it."""
        while True:
            try:
                return self._tls.do_handshake()
            except BLOCKED as why:
                await self._ready(why, STALL_S)

    @property
    def peer_names(self) -> frozenset[str]:
        """The DNS names in the other end's certificate."""
        certificate: Any = self._tls.getpeercert() or {}
        return frozenset(value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS")

    @property
    def round_trip_s(self) -> float:
        """The shortest that the kernel has seen on this connection (tcpi_min_rtt)."""
        try:
            (microseconds,) = TCP_MIN_RTT.unpack_from(self._tls.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256))
        except (OSError, struct.error):  # Broken meanwhile, or an older kernel.
            return math.inf
        return float(microseconds) / 1e6

    @property
    def quiet(self) -> bool:
        """Whether nothing has come since the last answer: an end of the stream, or what nobody asked for."""
        watch = select.poll()
        watch.register(self._tls, select.POLLIN)
        return not self._tls.pending() and not watch.poll(0)

    async def send(self, data: memoryview, within_s: float = STALL_S) -> None:
        at = 0
        while at < len(data):
            turn = min(at + TURN_BYTES, len(data))
            while at < turn:
                try:
                    at += self._tls.send(data[at:turn])
                except BLOCKED as why:
                    await self._ready(why, within_s)
            await asyncio.sleep(0)

    async def receive_into(self, place: memoryview, within_s: float = STALL_S) -> None:
        """Fill all of it, in one turn of the event loop as far as it has arrived."""
        at = 0
        while at < len(place):
            try:
                taken = self._tls.recv_into(place[at:])
            except BLOCKED as why:
                await self._ready(why, within_s)
            else:
                if not taken:
                    raise ConnectionResetError(f"the stream ended {len(place) - at} bytes early")
                at += taken
                self.received_bytes += taken

    async def receive(self, length: int, within_s: float = STALL_S) -> bytearray:
        data = bytearray(length)
        await self.receive_into(memoryview(data), within_s)
        return data

    def close(self) -> None:
        """Say goodbye if that is possible at once. Safe to repeat."""
        with contextlib.suppress(OSError, ValueError):
            self._tls.unwrap()
        self._tls.close()

    async def _ready(self, why: ssl.SSLError, within_s: float) -> None:
        """Wait, that long at most, until the socket allows what TLS was blocked in."""
        writes = isinstance(why, ssl.SSLWantWriteError)
        watch = self._loop.add_writer if writes else self._loop.add_reader
        forget = self._loop.remove_writer if writes else self._loop.remove_reader
        ready, number = self._loop.create_future(), self._tls.fileno()
        watch(number, _settle, ready)
        try:
            async with asyncio.timeout(within_s):
                await ready
        finally:
            forget(number)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
