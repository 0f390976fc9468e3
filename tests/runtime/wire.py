"""A TCP way to an agent, which a test can give a fault."""

import contextlib
import math
import socket
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

CHUNK_BYTES = 1 << 16
TRICKLE_S = 0.02

Fault = Callable[["Wire", bytes], bytes]
"""What becomes of the next bytes from the agent; raises ConnectionError to end the connection."""


class Wire:
    """Forwards both ways, whatever is said, to the port that `to` names at the time."""

    def __init__(self, to: Callable[[], int]) -> None:
        self.to = to
        self.happened = threading.Event()
        self.mended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.mend()
        self._run(self._accept)

    def break_after(self, carries: float, fault: Fault, *, again: bool = False) -> None:
        """When so many bytes have come from the agent on a connection: once, or `again` on every one."""
        self._carried: Counter[socket.socket] = Counter()
        self.happened.clear()
        self.mended.clear()
        self._carries, self._fault, self._again = carries, fault, again

    def mend(self) -> None:
        """No faults any more; what was held back is lost with its connection."""
        self.break_after(math.inf, cut)
        self.mended.set()

    def hang_up(self) -> None:
        """End what is connected now."""
        self.mended.set()
        _end(*self._sockets)

    def close(self) -> None:
        self.mended.set()
        _end(self._listener)
        self._threads[0].join()
        _end(*self._sockets)
        for thread in self._threads:
            thread.join()

    def _run(self, work: Callable[..., None], *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments))
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                self._sockets.append(here)
                self._run(self._join, here)

    def _join(self, here: socket.socket) -> None:
        there = socket.socket()
        self._sockets.append(there)
        there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK_BYTES)  # else it takes megabytes that nobody reads
        try:
            there.connect(("127.0.0.1", self.to()))
        except OSError:
            return _end(here)
        self._run(self._pump, here, there, False)
        return self._pump(there, here, True)

    def _pump(self, source: socket.socket, target: socket.socket, from_agent: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                target.sendall(self._passed(source, data) if from_agent else data)
        _end(source, target)

    def _passed(self, source: socket.socket, data: bytes) -> bytes:
        self._carried[source] += len(data)
        if self._carried[source] <= self._carries or (self.happened.is_set() and not self._again):
            return data
        self.happened.set()
        return self._fault(self, data)


def cut(_wire: Wire, _data: bytes) -> bytes:
    """The connection ends."""
    raise ConnectionResetError


def stall(wire: Wire, _data: bytes) -> bytes:
    """Nothing comes any more, and nobody says so."""
    wire.mended.wait()
    raise ConnectionResetError


def trickle(wire: Wire, data: bytes) -> bytes:
    """It comes, as over a slow line."""
    wire.mended.wait(TRICKLE_S)
    return data


def flip(_wire: Wire, data: bytes) -> bytes:
    """A bit is not what it was."""
    return bytes([data[0] ^ 1]) + data[1:]


def after(act: Callable[[], object]) -> Fault:
    """Something is done, and the connection ends."""

    def fault(_wire: Wire, _data: bytes) -> bytes:
        act()
        raise ConnectionResetError

    return fault


def _end(*sockets: socket.socket) -> None:
    """Whoever waits on them is woken, and whoever sends to them hears of it."""
    for end in sockets:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
