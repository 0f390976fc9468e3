"""What a client has not taken of what it was sent, which tells one that is slow from one that reads nothing."""

import asyncio
import fcntl
import sys
import termios

INT_BYTES = 4


def untaken_bytes(transport: asyncio.Transport) -> int:
    """Bytes that wait here, and in the kernel until the client's host acknowledges them, where that is known."""
    waiting = transport.get_write_buffer_size()
    try:
        found = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(INT_BYTES))
    except (AttributeError, OSError):  # it has no socket (any more)
        return waiting
    return waiting + int.from_bytes(found, sys.byteorder)
