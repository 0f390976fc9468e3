"""One SSH connection through paramiko, which is imported here and nowhere else. Calls block, each with a timeout."""

import logging
import os
import socket
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeAlias
from weakref import WeakSet

import paramiko

from planner.errors import HostError
from provisioners.ssh.login import SshAddress, SshKeys, SshLogin

Channel: TypeAlias = paramiko.Channel
Sftp: TypeAlias = paramiko.SFTPClient
LOST = (paramiko.SSHException, EOFError, OSError)
"""What a connection that was lost, or never came about, is noticed by."""
BUSY = paramiko.ChannelException
"""The server grants this connection no more sessions, or can start no more in them; what runs on it is well.

It counts a session for a moment longer than its command runs.
"""


CONNECT_S = 15.0
CHANNEL_S = 15.0
AGENT_S = 10.0
"""For each answer of the SSH agent: less than a login may take, so that the agent is named for what it did."""
KEEPALIVE_S = 15
UNACKNOWLEDGED_MS = 45_000
"""TCP gives up on a peer that has acknowledged nothing for so long: three keep-alives, each answered by its kernel."""
USUAL_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what matters is raised, in words of ours


class NoAnswer(TimeoutError):
    """A server takes what is sent, and answers a request late or never. It may go on, and so may what runs there."""


class _Tunnel:
    """A channel as the socket of another connection. Closing one whose own connection was lost is nothing to report:
    paramiko's thread would die of it, aloud."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def close(self) -> None:
        with suppress(*LOST):
            self._channel.close()


class SshClient:
    """A connection whose host showed the pinned key and let us in."""

    def __init__(self, transport: paramiko.Transport, address: SshAddress) -> None:
        self._transport = transport
        self.address = address
        self._channels: WeakSet[Channel] = WeakSet()

    @classmethod
    def connect(cls, login: SshLogin, via: "SshClient | None" = None) -> Self:
        """Connect, check the host key, log in. Raises HostError that names the host and what was tried."""
        pinned = login.known_host.pinned
        stream = _dialled(login.address) if via is None else _Tunnel(via.tunnel(login.address))
        transport = paramiko.Transport(stream)
        try:
            _greet(transport, login, pinned)
            _log_in(transport, login)
        except BaseException:
            transport.close()
            raise
        transport.set_keepalive(KEEPALIVE_S)
        return cls(transport, login.address)

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs over it any more."""
        return not self.alive or all(one.closed for one in self._channels)

    @property
    def alive(self) -> bool:
        return bool(self._transport.is_active())

    def command(self, line: str) -> Channel:
        """Start a command line of the login shell. Raises BUSY, or one of LOST."""
        channel = self._session()
        with _answered(channel):
            try:
                channel.exec_command(line)
            except paramiko.SSHException as error:
                raise self._refused(error, "it starts no command: has it room for more processes?") from error
        return channel

    def sftp(self, sudo: bool = False) -> Sftp:
        """Files as the user who logged in, or as root: then the server's own SFTP program runs under sudo."""
        channel = self._session()
        try:
            with _answered(channel):
                if sudo:
                    tried = " ".join(SFTP_SERVERS)
                    channel.exec_command(f"for s in {tried}; do [ -x $s ] && exec sudo -n $s; done")
                else:
                    channel.invoke_subsystem("sftp")
            return paramiko.SFTPClient(channel)
        except LOST as error:
            if not self.alive:
                raise
            how = f"root by sudo, of {self.address.user}" if sudo else self.address.user
            raise HostError(f"{self.address.host} serves {how} no files over SFTP: {_words(error)}.") from error

    def tunnel(self, address: SshAddress) -> Channel:
        """A stream to another host, dialled by this one. Raises HostError."""
        try:
            return self._transport.open_channel(
                "direct-tcpip", (address.host, address.port), ("127.0.0.1", 0), timeout=CONNECT_S
            )
        except LOST as error:
            raise HostError(f"{address} can't be reached through {self.address}: {_words(error)}.") from error

    def close(self) -> None:
        self._transport.close()

    def _session(self) -> Channel:
        """Raises BUSY, or one of LOST. Of threads that are refused at once paramiko tells only one the cause; for the
        others it looks like a loss."""
        asked_at = time.monotonic()
        try:
            channel = self._transport.open_session(timeout=CHANNEL_S)
        except BUSY:
            raise
        except paramiko.SSHException as error:
            if time.monotonic() - asked_at >= CHANNEL_S:
                raise
            raise self._refused(error, "no more sessions") from error
        channel.settimeout(CHANNEL_S)
        self._channels.add(channel)
        return channel

    def _refused(self, error: paramiko.SSHException, why: str) -> Exception:
        """The error for a no of the server: a connection that lives is not dropped for one, as that would end the
        commands that run on it."""
        busy: Exception = BUSY(paramiko.common.OPEN_FAILED_CONNECT_FAILED, why)
        return busy if self.alive else error


@contextmanager
def _answered(channel: Channel) -> Iterator[None]:
    """Close the channel when the block takes longer than CHANNEL_S, and raise NoAnswer, which is one of LOST.

    A request that waits for its answer knows no timeout of its own: a frozen server would be waited for without end.
    """
    late = threading.Event()

    def give_up() -> None:
        late.set()
        with suppress(*LOST):
            channel.close()

    timer = threading.Timer(CHANNEL_S, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (BUSY, *LOST) as error:
        if late.is_set():
            raise NoAnswer("no answer") from error
        raise
    finally:
        timer.cancel()


def _dialled(address: SshAddress) -> socket.socket:
    try:
        stream = socket.create_connection((address.host, address.port), timeout=CONNECT_S)
    except socket.gaierror as error:
        raise HostError(f"The host name {address.host!r} is not known: {error.strerror}.") from error
    except ConnectionRefusedError as error:
        raise HostError(
            f"{address} refused the connection.", hint="Does its SSH server run, and on that port?"
        ) from error
    except OSError as error:
        raise HostError(f"{address} can't be reached: {_words(error)}.") from error
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
    return stream


def _greet(transport: paramiko.Transport, login: SshLogin, pinned: str) -> None:
    """Agree on a cipher, and check who is there. A host with keys of several kinds is asked for the pinned one."""
    transport.banner_timeout = transport.auth_timeout = CONNECT_S
    if pinned:
        options = transport.get_security_options()
        kind = pinned.partition(" ")[0]
        options.key_types = sorted(options.key_types, key=lambda name: not _signs_for(name, kind))
    try:
        transport.start_client(timeout=CONNECT_S)
    except LOST as error:
        raise HostError(f"{login.address} does not speak SSH as it should: {_words(error)}.") from error
    key = transport.get_remote_server_key()
    login.known_host.check(f"{key.get_name()} {key.get_base64()}")


def _signs_for(algorithm: str, kind: str) -> bool:
    """Whether a signature algorithm is one of that kind of key; RSA keys sign by several."""
    return algorithm == kind or (kind == "ssh-rsa" and algorithm.startswith("rsa-sha2-"))


def _log_in(transport: paramiko.Transport, login: SshLogin) -> None:
    tried: list[str] = []
    with closing(_offered(login.keys, tried)) as offered:
        for name, key in offered:
            tried.append(name)
            try:
                if not transport.auth_publickey(login.address.user, key):
                    return
                tried[-1] += " (accepted, but the host wants more than a key)"
            except paramiko.AuthenticationException:
                continue
            except LOST as error:  # many servers hang up after some refused keys
                tried[-1] += f" (then: {_words(error)})"
                break
    raise HostError(
        f"{login.address} did not let {login.address.user!r} in. Tried: {', '.join(tried) or 'no key at all'}.",
        hint="Add the public key of one of them to authorized_keys there, or name the right key file.",
    )


def _offered(keys: SshKeys, tried: list[str]) -> Generator[tuple[str, paramiko.PKey], None, None]:
    """Name and key, in the order of `SshKeys`. A file that can't be read is noted in `tried`, with the cause."""
    yield from _of_files([keys.first] if keys.first else [], tried)
    if keys.agent and (path := os.environ.get("SSH_AUTH_SOCK")):
        yield from _of_agent(path, tried)
    usual = (Path.home() / ".ssh" / name for name in USUAL_KEYS)
    yield from _of_files(keys.files or [path for path in usual if path.exists()], tried)


def _of_agent(path: str, tried: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    """The keys of the agent at a socket; none where nobody listens any more. One that hangs is noted in `tried`:
    paramiko's own way to it knows no timeout."""
    agent = paramiko.agent.AgentSSH()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(AGENT_S)
        try:
            stream.connect(path)
            agent._connect(stream)
        except TimeoutError:
            tried.append(f"the SSH agent (no answer within {AGENT_S:g} s)")
            return
        except LOST:
            return
        for key in agent.get_keys():
            yield f"{key.get_name()} {key.comment or ''}".strip() + " of the SSH agent", key


def _of_files(paths: Iterable[Path], tried: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    for path in paths:
        try:
            yield str(path), paramiko.PKey.from_path(path.expanduser())
        except (paramiko.PasswordRequiredException, TypeError):  # the latter from cryptography
            tried.append(f"{path} (has a passphrase: add it to the SSH agent)")
        except (paramiko.SSHException, paramiko.UnknownKeyType, OSError, ValueError) as error:
            tried.append(f"{path} (can't be read: {_words(error)})")


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_S:g} s"
    return getattr(error, "strerror", None) or str(error).rstrip(".") or type(error).__name__
