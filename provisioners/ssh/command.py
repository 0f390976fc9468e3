"""One command on a host: started, fed, listened to, and killed with all of its process group when its time is over.

SSH has a message for signals that servers may ignore, so the command's shell first says which process it is, and is
killed by another command. The line before that is also what tells a command that ran from one that could not start.
"""

import select
import shlex
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from planner.errors import HostError
from provisioners.ssh.client import LOST, Channel, SshClient
from provisioners.ssh.connection import SshConnection
from provisioners.transport import OUTPUT_LIMIT, Completed

STARTED = b"thunder-started "
LOOK_EVERY_MS = 100
"""How soon a command notices that its caller is gone."""
KILL_S = 10.0
CHUNK = 1 << 15
SIGNALLED = range(128 + 1, 128 + 32)
"""Codes by which a shell says that a command was ended by a signal."""

Heard = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class SshCommand:
    """A POSIX shell command line that starts in `folder`, as root with `sudo`."""

    text: str
    folder: str = "/"
    environment: Mapping[str, str] = field(default_factory=dict)
    sudo: bool = False

    @property
    def line(self) -> str:
        """What the login shell is given. The inner shell is no `exec`: its end by a signal must be told."""
        exports = "".join(f"export {name}={shlex.quote(value)}; " for name, value in sorted(self.environment.items()))
        script = (
            f"cd {shlex.quote(self.folder)} || exit; {exports}"
            f'printf "{STARTED.decode()}%s\\n" "$$"; /bin/sh -c {shlex.quote(self.text)}; exit "$?"'
        )
        return f"exec {'sudo -n -- ' if self.sudo else ''}/bin/sh -c {shlex.quote(script)}"


def run_command(
    connection: SshConnection,
    command: SshCommand,
    *,
    timeout_s: float,
    stdin: bytes = b"",
    stop: threading.Event,
    heard: Heard | None = None,
) -> Completed:
    """Run it to its end. Blocks. Raises HostError when it can't be started, does not end in time, or is lost sight of.

    `heard` is given what comes on standard output, as it comes.
    """

    def start(client: SshClient) -> Channel:
        if stop.is_set():  # whoever asked is gone, though it took until now to connect
            raise HostError(f"On {connection.address}, `{command.text[:80]}` was not started.")
        return client.command(command.line)

    channel = connection.opened(start)
    deadline = time.monotonic() + timeout_s
    exchange = _Exchange(channel, memoryview(stdin), heard)
    try:
        while not exchange.step():
            if stop.is_set() or time.monotonic() >= deadline:
                _kill(connection, command, exchange)
                raise HostError(
                    f"On {connection.address}, `{command.text[:80]}` did not end within {timeout_s:g} s.",
                )
        return exchange.completed(connection, command)
    except LOST as error:
        raise HostError(f"The connection to {connection.address} was lost: {error or type(error).__name__}.") from error
    finally:
        exchange.close()


class _Exchange:
    """What goes into a command and comes out of it; bounded, so that no command fills our memory."""

    def __init__(self, channel: Channel, stdin: memoryview, heard: Heard | None) -> None:
        self._channel = channel
        self._left = stdin
        self._heard = heard
        self._head: bytearray | None = bytearray()
        """What came before the command started: a login shell may greet. None once it has started."""
        self._out = bytearray()
        self._err = bytearray()
        self.pid = 0
        self._ready = select.poll()
        self._ready.register(channel.fileno(), select.POLLIN)
        self._input_is_open = True

    def step(self) -> bool:
        """Feed and listen a little; True when it has ended and all was heard."""
        channel = self._channel
        ended = channel.closed or (channel.eof_received and channel.exit_status_ready())
        self._feed()
        while channel.recv_ready():
            self._hear(channel.recv(CHUNK))
        while channel.recv_stderr_ready():
            data = channel.recv_stderr(CHUNK)
            self._err += data[: max(0, OUTPUT_LIMIT - len(self._err))]
        if not ended:
            self._wait()
        return bool(ended)

    def completed(self, connection: SshConnection, command: SshCommand) -> Completed:
        said = bytes(self._err).strip().decode(errors="replace")[-500:]
        code = self._channel.recv_exit_status()
        if self._head is not None and code >= 0:
            raise _not_started(connection, command, said)
        if code < 0 and connection.lost:
            raise HostError(f"The connection to {connection.address} was lost while `{command.text[:80]}` ran.")
        if code < 0:
            raise HostError(f"On {connection.address}, the shell of `{command.text[:80]}` was killed.")
        return Completed(128 - code if code in SIGNALLED else code, bytes(self._out), bytes(self._err))

    def close(self) -> None:
        self._channel.close()

    def _feed(self) -> None:
        if not self._input_is_open or self._head is not None:
            return
        try:
            while self._left and self._channel.send_ready():
                self._left = self._left[self._channel.send(bytes(self._left[:CHUNK])) :]
        except OSError:  # it ended without reading all of it
            self._left = self._left[:0]
        if not self._left:
            self._input_is_open = False
            with suppress(OSError):
                self._channel.shutdown_write()

    def _hear(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            _, found, after = bytes(self._head).partition(STARTED)
            pid, ended, data = after.partition(b"\n")
            if not found or not ended:
                self._head = self._head[-OUTPUT_LIMIT:]
                return
            self.pid, self._head = int(pid), None
        self._out += data[: max(0, OUTPUT_LIMIT - len(self._out))]
        if data and self._heard is not None:
            self._heard(data)

    def _wait(self) -> None:
        """Until something comes. While input waits for the host to take it, nothing tells when it does: look often."""
        feeding = self._input_is_open and self._head is None
        self._ready.poll(LOOK_EVERY_MS / 10 if feeding else LOOK_EVERY_MS)


def _kill(connection: SshConnection, command: SshCommand, exchange: _Exchange) -> None:
    """Kill the command's process group, as soon as it is known. What made a session of its own lives on."""
    deadline = time.monotonic() + KILL_S
    while not exchange.pid and not exchange.step() and time.monotonic() < deadline:
        pass
    exchange.close()
    if not exchange.pid:
        return
    text = f"kill -KILL -{exchange.pid} 2>/dev/null || kill -KILL {exchange.pid} 2>/dev/null"
    line = SshCommand(text, sudo=command.sudo).line
    with suppress(HostError, *LOST):
        killer = connection.opened(lambda client: client.command(line))
        killer.status_event.wait(KILL_S)
        killer.close()


def _not_started(connection: SshConnection, command: SshCommand, said: str) -> HostError:
    if command.sudo and "sudo" in said:
        hint = f"Let {connection.address.user} use sudo without a password there (NOPASSWD), or do without sudo."
        return HostError(f"{connection.address} does not let {connection.address.user} use sudo: {said}", hint=hint)
    return HostError(f"No command can be run in {command.folder} on {connection.address}: {said or 'it says nothing'}")
