"""Connections that notice when the other host is gone: a kernel acknowledges what it gets, however busy its host is.

So long silence is a sign of a lost host or line, and an answer that takes long is none: an engine may be at work.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import aiohttp


def noticing(lost_after_s: float) -> Callable[[tuple[Any, ...]], socket.socket]:
    """A `socket_factory` for aiohttp: with something unacknowledged for so long the connection ends (ETIMEDOUT)."""
    return partial(_made, round(lost_after_s * 1000))


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


def _made(lost_after_ms: int, address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; elsewhere the caller's own limit has to do
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, lost_after_ms)
    return made
