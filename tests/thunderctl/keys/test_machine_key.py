"""The key pair by which we get onto rented machines."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from planner.errors import SpecError
from provisioners.ssh.connection import SshConnection
from provisioners.ssh.known_host import KnownHost
from provisioners.ssh.login import SshLogin
from provisioners.ssh.transport import SshTransport
from tests.provisioners.sshd import sshd
from thunderctl.keys.machine_key import machine_key


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))


def test_it_is_made_when_first_needed_and_is_the_same_ever_after():
    key = machine_key()
    assert key.private.stat().st_mode & 0o777 == 0o600
    assert key.public.startswith("ssh-ed25519 ")
    assert "\n" not in key.public
    assert machine_key() == key
    assert [path.name for path in key.private.parent.iterdir()] == ["id_ed25519"]


def test_of_several_who_need_it_first_one_makes_it():
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: machine_key().public, range(16)))
    assert len(keys) == 1


def test_a_file_that_is_no_key_is_named_and_left_alone():
    path = machine_key().private
    path.write_text("nonsense")
    with pytest.raises(SpecError, match="id_ed25519 can't be read as a private SSH key"):
        machine_key()
    assert path.read_text() == "nonsense"


async def test_a_server_that_was_told_of_it_lets_us_in_before_any_other_key_is_shown(tmp_path):
    key = machine_key()
    with sshd(tmp_path / "sshd", extra="MaxAuthTries 1\n") as server:
        (server.folder / "authorized_keys").write_text(key.public + "\n")
        login = SshLogin(server.address, KnownHost(tmp_path / "known_hosts", "here"), key.keys)
        connection = SshConnection(login)
        done = await SshTransport(connection, str(tmp_path)).run("echo in", timeout_s=10)
        connection.close()
    assert done.stdout == b"in\n"
