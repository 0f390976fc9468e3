"""What a pull of tiles is held against: as many bytes over one blocking `ssl` socket, from process to process.

Same certificates, same ciphers, TLS 1.3 both ways; nothing is checked, framed, asked for again or bounded.
"""

import multiprocessing
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.tls import client_context, server_context
from thunderctl.keys.certificates import ensure_authority, issue

CHUNK_BYTES = 1 << 20
GO = b"!"


class BareLink:
    """A sender that waits to be told, and a receiver here. `cipher` is what both agreed on."""

    def __init__(self, folder: Path, host: str, port: int, size: int) -> None:
        plain = socket.create_connection((host, port))
        self._tls = client_context(folder / "bare-d").wrap_socket(plain, server_hostname="bare-p.agent.thunder")
        self._place = memoryview(bytearray(size))
        agreed = self._tls.cipher()
        self.cipher = agreed[0] if agreed else "no cipher"

    def pull(self) -> float:
        """Seconds until all bytes are here."""
        started, got = time.perf_counter(), 0
        self._tls.sendall(GO)
        while got < len(self._place):
            got += self._tls.recv_into(self._place[got : got + CHUNK_BYTES])
        return time.perf_counter() - started

    def close(self) -> None:
        self._tls.close()


@contextmanager
def bare_link(folder: Path, size: int) -> Iterator[BareLink]:
    """Start the sender, and end it at the end."""
    ensure_authority(folder / "ca")
    for name in ("bare-p", "bare-d"):
        issue(folder / "ca", f"{name}.agent.thunder", folder / name)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = multiprocessing.get_context("spawn").Process(target=_send, args=(folder, listener, size))
        sender.start()
        link = BareLink(folder, *listener.getsockname()[:2], size)
        try:
            yield link
        finally:
            link.close()
            sender.join()


def _send(folder: Path, listener: socket.socket, size: int) -> None:
    plain, _ = listener.accept()
    data = memoryview(os.urandom(size))  # pages of its own: zeros would all be one that stays in the cache
    with server_context(folder / "bare-p").wrap_socket(plain, server_side=True) as tls:
        while tls.recv(len(GO)) == GO:
            for at in range(0, size, CHUNK_BYTES):
                tls.sendall(data[at : at + CHUNK_BYTES])
