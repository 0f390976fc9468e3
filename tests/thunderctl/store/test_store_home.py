"""THUNDER_HOME, the owner's id, and secrets."""

import subprocess
import sys
import uuid

import pytest

from planner.errors import SpecError
from thunderctl import home
from thunderctl.secrets import Secret, write_private


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("THUNDER_DATABASE_URL", raising=False)
    return tmp_path / "home"


def test_the_home_is_private_and_holds_the_store(folder, monkeypatch):
    assert home.thunder_home() == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert home.database_url() == f"sqlite:///{folder}/store.db"
    monkeypatch.setenv("THUNDER_DATABASE_URL", "postgresql://somewhere/thunder")
    assert home.database_url() == "postgresql://somewhere/thunder"


def test_without_a_name_the_home_is_the_platforms_own(monkeypatch, tmp_path):
    monkeypatch.delenv("THUNDER_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert home.thunder_home() == tmp_path / "thunderctl"


def test_the_owner_id_is_made_once_and_is_the_same_for_all_that_ask_at_once(folder):
    ask = "from thunderctl.home import owner_id; print(owner_id())"
    running = [subprocess.Popen([sys.executable, "-c", ask], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    found = {process.communicate(timeout=30)[0].strip() for process in running}
    assert found == {home.owner_id()}
    assert uuid.UUID(home.owner_id()).version == 4
    assert {path.name for path in folder.iterdir()} == {"owner-id"}


def test_an_owner_id_that_can_not_be_read_is_not_replaced(folder):
    folder.mkdir()
    (folder / "owner-id").write_text("")
    with pytest.raises(SpecError, match="expected a UUID"):
        home.owner_id()
    assert (folder / "owner-id").read_text() == ""


@pytest.mark.parametrize("name", ["default", "staging-2", "a", "0"])
def test_a_deployment_has_a_folder(folder, name):
    assert home.deployment_folder(name) == folder / "deployments" / name
    assert (folder / "deployments" / name).is_dir()


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "a:b", "-a", "a-", "a" * 41])
def test_a_name_that_could_lead_elsewhere_is_refused(name):
    with pytest.raises(SpecError, match="can't be used"):
        home.deployment_folder(name)


def test_a_secret_prints_as_dots():
    secret = Secret("hunter2")
    assert f"{secret} {secret!r} {[secret]} {secret:>5} {secret!s}" == "••• ••• [•••]   ••• •••"
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2")
    assert not Secret("")


def test_a_private_file_is_replaced_whole(folder):
    path = folder / "keys" / "tls.key"
    write_private(path, "one")
    write_private(path, b"two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["tls.key"]
