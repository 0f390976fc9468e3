"""Commands and files over SSH, against real OpenSSH servers."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from planner.errors import HostError, SpecError
from provisioners.ssh import command as command_module
from provisioners.ssh import files as files_module
from provisioners.ssh.connection import SshConnection
from provisioners.ssh.known_host import KnownHost
from provisioners.ssh.login import SshAddress, SshKeys, SshLogin
from provisioners.ssh.transport import SshTransport
from tests.provisioners.conftest import runs
from tests.provisioners.sshd import free_port, make_key, sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def connect():
    """Connections that are closed when the test is over."""
    made = []

    def make(login: SshLogin) -> SshConnection:
        made.append(SshConnection(login))
        return made[-1]

    yield make
    for connection in made:
        connection.close()


@pytest.fixture
def connection(connect, server, tmp_path) -> SshConnection:
    return connect(server.login(tmp_path / "known_hosts"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "machine").mkdir(mode=0o700)
    return tmp_path / "machine"


@pytest.fixture
def transport(connection, folder) -> SshTransport:
    return SshTransport(connection, str(folder), environment={"THUNDER_LEASE_ID": "a lease"})


async def test_a_command_runs_in_the_folder_and_says_how_it_ended(transport, folder):
    done = await transport.run("pwd; echo $THUNDER_LEASE_ID; echo problem >&2; exit 3", timeout_s=10)
    assert (done.code, done.stdout.decode().split("\n")[:2]) == (3, [str(folder), "a lease"])
    assert done.complaint == "problem"


async def test_a_command_that_a_signal_ended_says_which(transport):
    assert (await transport.run("kill -TERM $$", timeout_s=10)).code == -15


async def test_a_command_reads_its_standard_input(transport):
    data = os.urandom(3_000_000)
    done = await transport.run("sha256sum; echo end", timeout_s=20, stdin=data)
    assert done.stdout.split()[-1] == b"end"
    assert (await transport.run("cat", timeout_s=20, stdin=data[:900_000])).stdout == data[:900_000]
    assert (await transport.run("true", timeout_s=20, stdin=data)).code == 0


async def test_output_is_bounded_and_both_streams_are_read(transport, monkeypatch):
    monkeypatch.setattr(command_module, "OUTPUT_LIMIT", 1000)
    done = await transport.run("head -c 5000000 /dev/zero >&2; head -c 5000000 /dev/zero; echo end >&2", timeout_s=20)
    assert (done.code, len(done.stdout), len(done.stderr)) == (0, 1000, 1000)


async def test_output_is_heard_while_the_command_runs(transport, folder):
    heard = asyncio.Event()
    task = asyncio.create_task(
        transport.run("echo one; while [ ! -e go ]; do sleep 0.05; done", timeout_s=20, heard=lambda _: heard.set())
    )
    await asyncio.wait_for(heard.wait(), 10)
    assert not task.done()
    (folder / "go").touch()
    assert (await task).stdout == b"one\n"


async def test_a_command_that_takes_too_long_is_killed_with_what_it_started(transport):
    begun = time.monotonic()
    with pytest.raises(HostError, match="did not end within"):
        await transport.run("sleep 60 & echo $! >child; wait", timeout_s=1)
    assert time.monotonic() - begun < 10
    await ends(int(await transport.get("child")))


async def test_a_cancelled_command_is_killed_with_what_it_started(transport):
    started = asyncio.Event()
    task = asyncio.create_task(
        transport.run("sleep 60 & echo $! >child; echo up; wait", timeout_s=60, heard=lambda _: started.set())
    )
    await asyncio.wait_for(started.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ends(int(await transport.get("child")))


async def test_what_was_started_to_outlive_its_command_does(transport):
    await transport.run("setsid nohup sleep 60 >/dev/null 2>&1 </dev/null & echo $! >child", timeout_s=10)
    pid = int(await transport.get("child"))
    assert runs(pid)
    os.kill(pid, 9)


async def test_a_folder_that_is_not_there_is_an_error_in_words(connection, folder):
    with pytest.raises(HostError, match=r"No command can be run in .*/gone"):
        await SshTransport(connection, str(folder / "gone")).run("true", timeout_s=10)


async def test_more_commands_than_a_server_grants_sessions_wait_their_turn(transport):
    done = await asyncio.gather(*(transport.run(f"sleep 0.05; echo {i}", timeout_s=60) for i in range(24)))
    assert [int(one.stdout) for one in done] == list(range(24))


async def test_refused_sessions_cost_no_command_that_runs(connect, tmp_path, folder):
    with sshd(tmp_path / "narrow", extra="MaxSessions 2\n") as narrow:
        transport = SshTransport(connect(narrow.login(tmp_path / "known_hosts")), str(folder))
        done = await asyncio.gather(*(transport.run(f"sleep 0.02; echo {i}", timeout_s=60) for i in range(60)))
    assert [int(one.stdout) for one in done] == list(range(60))


async def test_a_greeting_of_the_login_shell_is_not_taken_for_output(connect, tmp_path, folder):
    with sshd(tmp_path / "noisy", extra='ForceCommand echo Welcome; eval "$SSH_ORIGINAL_COMMAND"\n') as noisy:
        transport = SshTransport(connect(noisy.login(tmp_path / "known_hosts")), str(folder))
        assert (await transport.run("echo out", timeout_s=10)).stdout == b"out\n"


async def test_files_are_put_whole_with_their_mode_and_got_back(transport):
    await transport.put("tls/tls.key", b"secret", 0o600)
    await transport.put("tls/tls.key", b"other", 0o440)
    assert await transport.get("tls/tls.key") == b"other"
    done = await transport.run("stat -c %a tls tls/tls.key; ls -A tls", timeout_s=10)
    assert done.stdout.split() == [b"700", b"440", b"tls.key"]


async def test_a_file_that_is_absent_or_too_large_is_an_error(transport, monkeypatch):
    with pytest.raises(HostError, match="No such file"):
        await transport.get("nothing")
    monkeypatch.setattr(files_module, "FILE_LIMIT", 10)
    await transport.put("large", b"x" * 11, 0o600)
    with pytest.raises(HostError, match="larger than"):
        await transport.get("large")


@pytest.mark.parametrize("path", ["/etc/passwd", "../other", "a/../../b", ""])
async def test_a_path_that_leaves_the_folder_is_refused(transport, path):
    with pytest.raises(HostError, match="leaves the instance's folder"):
        await transport.get(path)


async def test_a_folder_is_sent_with_the_modes_of_its_files(transport, tmp_path, folder):
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "run.sh").write_text("#!/bin/sh\necho ran")
    (source / "run.sh").chmod(0o750)
    (source / "deep" / "data").write_bytes(os.urandom(200_000))
    await transport.send(source, "copy")
    assert (folder / "copy" / "deep" / "data").read_bytes() == (source / "deep" / "data").read_bytes()
    assert (await transport.run("./copy/run.sh", timeout_s=10)).stdout == b"ran\n"


async def test_a_file_whose_line_was_cut_goes_on_where_it_ended(server, transport, tmp_path, folder):
    source = tmp_path / "wheel"
    source.write_bytes(os.urandom(40_000_000))
    sending = asyncio.create_task(transport.send(source, "wheel"))
    part = await a_part_of(folder, "wheel", more_than=1_000_000)
    assert server.cut_connections()
    with pytest.raises(HostError, match="can't be written"):
        await sending
    kept = part.stat().st_size
    assert 1_000_000 < kept < 40_000_000
    assert not (folder / "wheel").exists()
    first_of_it = part.stat().st_ino
    await transport.send(source, "wheel")
    assert (folder / "wheel").read_bytes() == source.read_bytes()
    assert (folder / "wheel").stat().st_ino == first_of_it
    assert not part.exists()


async def test_a_command_whose_line_was_cut_is_an_error_and_the_next_one_runs(server, transport):
    task = asyncio.create_task(transport.run("echo up >up; sleep 60", timeout_s=60))
    await until_it_is_there(transport, "up")
    assert server.cut_connections()
    with pytest.raises(HostError, match="was lost"):
        await task
    assert (await transport.run("echo again", timeout_s=10)).stdout == b"again\n"


async def test_one_connection_carries_everything(server, transport):
    before = connections_of(server)
    for _ in range(3):
        await transport.run("true", timeout_s=10)
        await transport.put("a", b"a", 0o600)
    assert connections_of(server) - before <= 1


async def test_a_full_disk_is_named(connection, folder):
    if os.geteuid() != 0:
        pytest.skip("Only root can mount a small file system to fill.")
    (folder / "small").mkdir()
    if os.system(f"mount -t tmpfs -o size=1m none {folder}/small 2>/dev/null") != 0:
        pytest.skip("No file system can be mounted here.")
    try:
        with pytest.raises(HostError, match="the disk is full"):
            await SshTransport(connection, str(folder / "small")).put("large", b"x" * 2_000_000, 0o600)
    finally:
        os.system(f"umount {folder}/small")


async def test_a_host_behind_another_is_reached_through_it(connect, server, tmp_path, folder):
    known_hosts = tmp_path / "known_hosts"
    with sshd(tmp_path / "inner") as inner:
        through = connect(inner.login(known_hosts, jump=server.login(known_hosts)))
        transport = SshTransport(through, str(folder))
        assert (await transport.run("echo $SSH_CONNECTION", timeout_s=10)).stdout.split()[-1] == b"%d" % inner.port
        await transport.put("a", b"over two hops", 0o600)
        assert await transport.get("a") == b"over two hops"


async def test_four_hosts_are_used_at_once(connect, tmp_path, folder):
    with ExitStack() as stack:
        servers = [stack.enter_context(sshd(tmp_path / f"host{i}")) for i in range(4)]
        logins = [server.login(tmp_path / "known_hosts") for server in servers]
        transports = [SshTransport(connect(login), str(folder)) for login in logins]
        met = "touch {0}; while [ $(ls | wc -l) -lt 4 ]; do sleep 0.05; done; echo {0}"
        done = await asyncio.gather(*(t.run(met.format(i), timeout_s=30) for i, t in enumerate(transports)))
        assert [int(one.stdout) for one in done] == [0, 1, 2, 3]


async def test_a_host_key_is_taken_at_first_contact_and_its_change_is_an_error(connect, tmp_path):
    known_hosts, port = tmp_path / "known_hosts", free_port()
    with sshd(tmp_path / "one", port=port) as first:
        await SshTransport(connect(first.login(known_hosts)), "/").run("true", timeout_s=10)
    assert known_hosts.stat().st_mode & 0o777 == 0o600
    with sshd(tmp_path / "one", port=port) as same:
        await SshTransport(connect(same.login(known_hosts)), "/").run("true", timeout_s=10)
    with sshd(tmp_path / "two", port=port) as other:
        with pytest.raises(HostError, match=r"host key .* has changed") as caught:
            await SshTransport(connect(other.login(known_hosts)), "/").run("true", timeout_s=10)
        assert str(known_hosts) in caught.value.hint


async def test_a_host_with_several_keys_is_asked_for_the_pinned_one(connect, tmp_path):
    known_hosts, port = tmp_path / "known_hosts", free_port()
    rsa = tmp_path / "rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(rsa)], check=True)
    name = KnownHost(known_hosts, f"{os.environ.get('USER', 'root')}@127.0.0.1:{port}")
    with sshd(tmp_path / "host", port=port, extra=f"HostKey {rsa}\n") as server:
        login = server.login(known_hosts)
        KnownHost(known_hosts, login.known_host.name).check(" ".join((rsa.parent / "rsa.pub").read_text().split()[:2]))
        await SshTransport(connect(login), "/").run("true", timeout_s=10)
    assert name.pinned.startswith("ssh-rsa ")


async def test_a_wrong_key_is_an_error_that_says_who_was_refused_and_what_was_tried(connect, server, tmp_path):
    make_key(tmp_path / "other")
    keys = SshKeys((tmp_path / "other", tmp_path / "absent"), agent=False)
    login = SshLogin(server.address, KnownHost(tmp_path / "known_hosts", "a"), keys)
    with pytest.raises(HostError, match=r"did not let .* in\. Tried: .*/other, .*/absent \(can't be read") as caught:
        await SshTransport(connect(login), "/").run("true", timeout_s=10)
    assert "authorized_keys" in caught.value.hint


async def test_a_port_where_nobody_listens_is_an_error(connect, server, tmp_path):
    login = SshLogin(SshAddress("127.0.0.1", free_port()), KnownHost(tmp_path / "known_hosts", "a"), server.keys)
    with pytest.raises(HostError, match="refused the connection"):
        await SshTransport(connect(login), "/").run("true", timeout_s=10)


async def test_a_host_that_is_no_ssh_server_is_an_error(connect, server, tmp_path):
    async def greet(_reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    login = SshLogin(SshAddress("127.0.0.1", port), KnownHost(tmp_path / "known_hosts", "a"), server.keys)
    try:
        with pytest.raises(HostError, match="does not speak SSH"):
            await SshTransport(connect(login), "/").run("true", timeout_s=10)
    finally:
        listening.close()
        await listening.wait_closed()


async def test_a_key_with_a_passphrase_is_named_and_serves_from_the_agent(connect, server, tmp_path, monkeypatch):
    locked = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(locked)], check=True)
    with (server.folder / "authorized_keys").open("a") as file:
        file.write((tmp_path / "locked.pub").read_text())
    known = KnownHost(tmp_path / "known_hosts", "a")
    with pytest.raises(HostError, match="has a passphrase: add it to the SSH agent"):
        await run_true(connect(SshLogin(server.address, known, SshKeys((locked,), agent=False))))
    with ssh_agent(tmp_path / "agent.sock", server.folder / "login") as socket_path:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket_path)
        await run_true(connect(SshLogin(server.address, known, SshKeys((locked,)))))


async def test_host_keys_that_can_not_be_read_are_an_error_in_words(connect, server, tmp_path):
    (tmp_path / "known_hosts").mkdir()
    with pytest.raises(HostError, match=r"host keys that are known can't be read .* \(.*known_hosts\)"):
        await run_true(connect(server.login(tmp_path / "known_hosts")))


async def test_with_sudo_commands_and_files_are_roots(connect, tmp_path, folder):
    with sshd(tmp_path / "host") as server:
        asked = fake_sudo(server.folder, 'shift; [ "$1" = -- ] && shift; exec "$@"')
        transport = SshTransport(connect(server.login(tmp_path / "known_hosts")), str(folder), sudo=True)
        assert (await transport.run("echo ran", timeout_s=10)).stdout == b"ran\n"
        await transport.put("a", b"a", 0o600)
        assert await transport.get("a") == b"a"
        assert [line.split()[0] for line in asked.read_text().splitlines()] == ["-n"] * 3


async def test_sudo_that_wants_a_password_is_an_error_with_the_mend(connect, tmp_path):
    with sshd(tmp_path / "host") as server:
        fake_sudo(server.folder, 'echo "sudo: a password is required" >&2; exit 1')
        transport = SshTransport(connect(server.login(tmp_path / "known_hosts")), "/", sudo=True)
        with pytest.raises(HostError, match=r"does not let .* use sudo: sudo: a password is required") as caught:
            await transport.run("true", timeout_s=10)
        assert "NOPASSWD" in caught.value.hint
        with pytest.raises(HostError, match=r"serves root by sudo, .* no files over SFTP"):
            await transport.get("etc/hostname")


async def test_sending_is_stopped_when_its_caller_is_cancelled(transport, tmp_path, folder):
    source = tmp_path / "wheel"
    source.write_bytes(os.urandom(60_000_000))
    task = asyncio.create_task(transport.send(source, "wheel"))
    part = await a_part_of(folder, "wheel", more_than=100_000)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stopped_at = part.stat().st_size
    await transport.run("true", timeout_s=10)
    assert part.stat().st_size == stopped_at < 60_000_000


@pytest.mark.parametrize("text", ["root@127.0.0.1:22", "ubuntu@host.example:2222", "me@[2001:db8::1]:22"])
def test_an_address_prints_as_it_was_read(text):
    assert str(SshAddress.parse(text)) == text


def test_what_an_address_leaves_out_has_its_usual_value():
    assert SshAddress.parse("10.0.0.5", user="me") == SshAddress("10.0.0.5", 22, "me")


@pytest.mark.parametrize("text", ["", "a b", "host:", "host:0", "host:65536", "host:ssh", "@host", "2001:db8::1"])
def test_text_that_is_no_address_is_refused(text):
    with pytest.raises(SpecError, match="expected user@host:port"):
        SshAddress.parse(text)


async def run_true(connection: SshConnection) -> None:
    await SshTransport(connection, "/").run("true", timeout_s=10)


def fake_sudo(folder: Path, script: str) -> Path:
    """A `sudo` first in the path of that server's commands; returns the file where it notes how it was called."""
    (folder / "bin").mkdir()
    (folder / "bin" / "sudo").write_text(f'#!/bin/sh\necho "$*" | head -n 1 >>{folder}/asked\n{script}\n')
    (folder / "bin" / "sudo").chmod(0o755)
    return folder / "asked"


@contextmanager
def ssh_agent(path: Path, key: Path) -> Iterator[str]:
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL) as agent:
        try:
            while not path.exists():
                time.sleep(0.02)
            environment = {"SSH_AUTH_SOCK": str(path)}
            subprocess.run(["ssh-add", "-q", str(key)], env=environment, check=True)
            yield str(path)
        finally:
            agent.terminate()


async def until_it_is_there(transport: SshTransport, path: str) -> None:
    for _ in range(200):
        if (await transport.run(f"[ -e {path} ]", timeout_s=10)).code == 0:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(path)


async def a_part_of(folder, name: str, more_than: int):
    for _ in range(1000):
        for part in folder.glob(f".{name}.*.part"):
            if part.stat().st_size > more_than:
                return part
        await asyncio.sleep(0.002)
    raise AssertionError("nothing arrived")


def connections_of(server) -> int:
    return sum(1 for child in server.process.children() if child.name().startswith("sshd"))


async def ends(pid: int) -> None:
    for _ in range(100):
        if not psutil.pid_exists(pid) or not runs(pid):
            return
        await asyncio.sleep(0.02)
    os.kill(pid, 9)
    raise AssertionError(f"process {pid} still runs")
