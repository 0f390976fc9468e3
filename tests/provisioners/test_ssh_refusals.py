"""SSH servers that refuse a command, or never answer: paramiko's own server side, made to."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import paramiko
import pytest

from planner.errors import HostError
from provisioners.ssh import client as client_module
from provisioners.ssh import connection as connection_module
from provisioners.ssh.command import STARTED
from provisioners.ssh.connection import SshConnection
from provisioners.ssh.known_host import KnownHost
from provisioners.ssh.login import SshAddress, SshKeys, SshLogin
from provisioners.ssh.transport import SshTransport
from tests.provisioners.sshd import make_key


class Moody(paramiko.ServerInterface):
    """Lets everybody in, but refuses the next `refusals` commands, and answers none while it is `frozen`.

    Commands do nothing; one with "wait" in it ends once `ending` is set.
    """

    def __init__(self) -> None:
        self.refusals = 0
        self.frozen = threading.Event()
        self.mended = threading.Event()
        self.ending = threading.Event()
        self.commands: list[bytes] = []
        self.logins = 0

    def check_auth_publickey(self, _user, _key):
        self.logins += 1
        return paramiko.AUTH_SUCCESSFUL

    def get_allowed_auths(self, _user):
        return "publickey"

    def check_channel_request(self, _kind, _number):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        if self.frozen.is_set():
            self.mended.wait(30)
        if self.refusals:
            self.refusals -= 1
            return False
        self.commands.append(command)
        threading.Thread(target=self._run, args=(channel, command), daemon=True).start()
        return True

    def _run(self, channel, command):
        with suppress(OSError, EOFError, paramiko.SSHException):  # its caller has gone
            channel.sendall(STARTED + b"1\n")
            if b"wait" in command:
                self.ending.wait(30)
            channel.send_exit_status(0)
            channel.close()


@contextmanager
def served(server: Moody, folder, *, agent: bool = False) -> Iterator[SshTransport]:
    key = paramiko.RSAKey.generate(2048)
    listening = socket.create_server(("127.0.0.1", 0))
    made: list[paramiko.Transport] = []

    def accept() -> None:
        while True:
            try:
                stream, _ = listening.accept()
            except OSError:
                return
            made.append(paramiko.Transport(stream))
            made[-1].add_server_key(key)
            made[-1].start_server(threading.Event(), server)

    threading.Thread(target=accept, daemon=True).start()
    make_key(folder / "login")
    login = SshLogin(
        SshAddress("127.0.0.1", listening.getsockname()[1], "me"),
        KnownHost(folder / "known_hosts", "moody"),
        SshKeys((folder / "login",), agent=agent),
    )
    with closing(SshConnection(login)) as connection:
        yield SshTransport(connection, "/")
    server.mended.set()
    server.ending.set()
    listening.close()
    for one in made:
        one.close()


async def test_a_command_that_is_refused_is_asked_for_again_and_costs_none_that_runs(tmp_path):
    """As by a host that has as many processes as it may."""
    server = Moody()
    with served(server, tmp_path) as transport:
        running = asyncio.create_task(transport.run("wait", timeout_s=30))
        while not server.commands:
            await asyncio.sleep(0.01)
        server.refusals = 2
        assert (await transport.run("true", timeout_s=30)).code == 0
        assert (server.refusals, server.logins) == (0, 1)
        server.ending.set()
        assert (await running).code == 0


async def test_a_server_that_starts_nothing_is_an_error_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(connection_module, "BUSY_S", 0.1)
    server = Moody()
    server.refusals = 1000
    with served(server, tmp_path) as transport, pytest.raises(HostError, match="starts no command"):
        await transport.run("true", timeout_s=30)


async def test_a_server_that_never_answers_a_request_is_not_waited_for_without_end(tmp_path, monkeypatch):
    server = Moody()
    with served(server, tmp_path) as transport:
        await transport.reach()
        monkeypatch.setattr(client_module, "CHANNEL_S", 0.3)
        server.frozen.set()
        with pytest.raises(HostError, match="takes no commands"):
            await asyncio.wait_for(transport.run("true", timeout_s=5), 20)


async def test_a_command_whose_caller_left_before_a_worker_was_free_never_starts(tmp_path):
    server = Moody()
    with served(server, tmp_path) as transport:
        running = [asyncio.create_task(transport.run("wait", timeout_s=30)) for _ in range(connection_module.WORKERS)]
        late = asyncio.create_task(transport.run("late", timeout_s=30))
        await asyncio.sleep(0)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        server.ending.set()
        await asyncio.gather(*running)
        assert (await transport.run("true", timeout_s=30)).code == 0
        assert not [command for command in server.commands if b"late" in command]


async def test_a_server_that_stalls_for_longer_than_the_limit_costs_no_command_that_runs(tmp_path, monkeypatch):
    server = Moody()
    with served(server, tmp_path) as transport:
        running = asyncio.create_task(transport.run("wait", timeout_s=30))
        while not server.commands:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(client_module, "CHANNEL_S", 0.3)
        server.frozen.set()
        late = asyncio.create_task(transport.run("true", timeout_s=30))
        await asyncio.sleep(0.5)
        server.frozen.clear()
        server.mended.set()
        await late
        server.ending.set()
        await running


@contextmanager
def mute_agent(folder) -> Iterator[str]:
    """A socket that takes connections, and never says anything."""
    path = str(folder / "agent.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        yield path


async def test_an_ssh_agent_that_never_answers_is_gone_without(tmp_path, monkeypatch):
    monkeypatch.setattr(client_module, "AGENT_S", 0.2)
    with mute_agent(tmp_path) as path, served(Moody(), tmp_path, agent=True) as transport:
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        assert (await asyncio.wait_for(transport.run("true", timeout_s=30), 60)).code == 0


def test_an_ssh_agent_that_never_answers_is_among_what_was_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(client_module, "AGENT_S", 0.2)
    tried: list[str] = []
    with mute_agent(tmp_path) as path:
        assert not list(client_module._of_agent(path, tried))
    assert tried == ["the SSH agent (no answer within 0.2 s)"]
