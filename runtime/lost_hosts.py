"""Connections that notice when the other host is gone: a kernel acknowledges what it gets, however busy its host is.

So long silence is a sign of a lost host or line, and an answer that takes long is none: an engine may be at work.
"""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp

LOOKS = 8
"""In the time that makes a host lost: it is noticed so much of that later at most."""
INFO = struct.Struct("=8B24I")
"""The first fields of Linux's `struct tcp_info`."""
STATE, UNACKNOWLEDGED, LAST_ACKNOWLEDGED_MS = 0, 12, 20
"""Which of them: connections that are open have state 1."""


def noticing(lost_after_s: float) -> Callable[[tuple[Any, ...]], socket.socket]:
    """A `socket_factory` for aiohttp: with something unacknowledged for so long the connection ends.

    The kernel's own TCP_USER_TIMEOUT is there too, for who is not connected yet; it alone would be late. It counts from
    the first time that something is sent again, and looks only when it sends again: 1.0 s took 1.4 s, or 2.4 s.
    """
    return Noticing(lost_after_s)


class Noticing:
    """Makes sockets, and looks at those that are open whether what they sent is acknowledged."""

    def __init__(self, lost_after_s: float) -> None:
        self._lost_after_s = lost_after_s
        self._waits_since: WeakKeyDictionary[socket.socket, float | None] = WeakKeyDictionary()
        self._looking: asyncio.TimerHandle | None = None

    def __call__(self, address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; elsewhere the caller's own limit has to do
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(self._lost_after_s * 1000))
            self._waits_since[made] = None
            if self._looking is None:
                self._look()
        return made

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        for one, since in list(self._waits_since.items()):
            if one.fileno() < 0:
                del self._waits_since[one]
            elif not (silent_s := silence_s(one)):
                self._waits_since[one] = None
            elif since is None:
                self._waits_since[one] = loop.time()
            elif min(loop.time() - since, silent_s) >= self._lost_after_s:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        again = bool(self._waits_since)
        self._looking = loop.call_later(self._lost_after_s / LOOKS, self._look) if again else None


def silence_s(connection: socket.socket) -> float:
    """For how long its host has acknowledged nothing; 0 where nothing waits to be acknowledged."""
    try:
        fields = INFO.unpack(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO.size))
    except (OSError, struct.error):  # a kernel that says less: its own timeout has to do
        return 0.0
    waits = fields[STATE] == 1 and fields[UNACKNOWLEDGED] > 0
    return max(fields[LAST_ACKNOWLEDGED_MS], 1) / 1000 if waits else 0.0


def not_again(lost_after_s: float) -> aiohttp.TraceConfig:
    """For a session with such sockets. A request whose connection ended for silence is not sent again on a new one, as
    aiohttp does with a GET: that would be silent for as long once more. One whose connection was closed, as by an agent
    that started anew, is.
    """
    config = aiohttp.TraceConfig()

    async def used_again(_session: aiohttp.ClientSession, request: SimpleNamespace, _: object) -> None:
        request.began_at = asyncio.get_running_loop().time()

    async def connects(_session: aiohttp.ClientSession, request: SimpleNamespace, _: object) -> None:
        began_at = getattr(request, "began_at", None)
        if began_at is not None and asyncio.get_running_loop().time() - began_at >= lost_after_s / 2:
            raise aiohttp.ClientOSError(errno.ETIMEDOUT, "nothing was acknowledged")

    config.on_connection_reuseconn.append(used_again)
    config.on_connection_create_start.append(connects)
    return config
