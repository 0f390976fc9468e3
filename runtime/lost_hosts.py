"""Connections that notice when the other host is gone: a kernel acknowledges what it gets, however busy its host is.

So long silence is a sign of a lost host or line, and an answer that takes long is none: an engine may be at work.
"""

import socket
from collections.abc import Callable
from functools import partial
from typing import Any


def noticing(lost_after_s: float) -> Callable[[tuple[Any, ...]], socket.socket]:
    """A `socket_factory` for aiohttp: with something unacknowledged for so long the connection ends (ETIMEDOUT)."""
    return partial(_made, round(lost_after_s * 1000))


def _made(lost_after_ms: int, address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; elsewhere the caller's own limit has to do
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, lost_after_ms)
    return made
