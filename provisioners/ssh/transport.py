"""Commands and files on a host over SSH."""

import asyncio
import errno
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from threading import Event
from typing import TypeVar

from planner.errors import HostError
from provisioners.ssh.client import LOST, Sftp
from provisioners.ssh.command import Heard, SshCommand, run_command
from provisioners.ssh.connection import SshConnection
from provisioners.ssh.files import read_file, send_bytes, send_tree
from provisioners.transport import Completed, inside

FREE_KIB = "df -Pk . | awk 'NR == 2 { print $4 }'"
LEAST_FREE_KIB = 64

T = TypeVar("T")


class SshTransport:
    """The transport of one machine: commands start in `folder`, files lie below it.

    Whoever makes one keeps the connection, `SshConnection(SshLogin(address, known_host, keys, jump))`, for as long as
    the machine is used. `environment` is added to what the login gives commands; with `sudo` all is done as root.
    """

    def __init__(
        self,
        connection: SshConnection,
        folder: str,
        *,
        environment: Mapping[str, str] | None = None,
        sudo: bool = False,
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._environment = dict(environment or {})
        self._sudo = sudo

    async def run(self, command: str, *, timeout_s: float, stdin: bytes = b"", heard: Heard | None = None) -> Completed:
        """As the protocol says; `heard` is told on the event loop what the command writes, while it does."""
        tell = None if heard is None else _on_loop(asyncio.get_running_loop(), heard)
        asked = SshCommand(command, self._folder, self._environment, self._sudo)
        return await self._connection.do(
            lambda stop: run_command(self._connection, asked, timeout_s=timeout_s, stdin=stdin, stop=stop, heard=tell)
        )

    async def put(self, path: str, data: bytes, mode: int) -> None:
        target = self._below(path)
        await self._files(target, "written", lambda sftp, stop: send_bytes(sftp, target, data, mode, stop))

    async def get(self, path: str) -> bytes:
        source = self._below(path)
        return await self._files(source, "read", lambda sftp, _: read_file(sftp, source))

    async def send(self, source: Path, path: str) -> None:
        """Send a file or a folder from here. Sent again after a loss, it goes on where it ended. Raises HostError."""
        target = self._below(path)
        await self._files(target, "written", lambda sftp, stop: send_tree(sftp, source, target, stop))

    async def reach(self) -> None:
        """Connect and log in, unless that is done: the host's key is pinned then. Raises HostError."""
        await self._connection.do(lambda _: self._connection.client())

    def _below(self, path: str) -> PurePosixPath:
        return PurePosixPath(self._folder) / inside(path)

    async def _files(self, path: PurePosixPath, verb: str, work: Callable[[Sftp, Event], T]) -> T:
        def with_sftp(stop: Event) -> T:
            sftp = self._connection.opened(lambda client: client.sftp(self._sudo))
            try:
                return work(sftp, stop)
            finally:
                sftp.close()

        try:
            return await self._connection.do(with_sftp)
        except LOST as error:
            where = f"{path} on {self._connection.address}"
            raise HostError(f"{where} can't be {verb}: {await self._cause(error)}.") from error

    async def _cause(self, error: BaseException) -> str:
        """In words. A server that is out of room says no more than "Failure", so the disk is asked."""
        number = getattr(error, "errno", None)
        if number in (errno.ENOENT, errno.EACCES):
            return os.strerror(number)
        if isinstance(error, OSError) and not isinstance(error, TimeoutError):
            with suppress(HostError, ValueError):  # what went wrong first is the news
                done = await self.run(FREE_KIB, timeout_s=10.0)
                if done.code == 0 and int(done.stdout) < LEAST_FREE_KIB:
                    return f"the disk is full ({int(done.stdout)} KiB are free)"
        return str(error).rstrip(".") or type(error).__name__


def _on_loop(loop: asyncio.AbstractEventLoop, heard: Heard) -> Heard:
    def tell(data: bytes) -> None:
        loop.call_soon_threadsafe(heard, data)

    return tell
