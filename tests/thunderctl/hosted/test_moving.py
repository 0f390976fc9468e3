"""A deployment that moves to a host of one's own over a real SSH server, is asked there, and comes home."""

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import pytest

from planner.errors import HostError, Refused
from provisioners.base import Label, LeaseRequest
from provisioners.leases.journal import LeaseRow, LeaseState
from tests.provisioners.sshd import Sshd, sshd
from thunderctl.cli.main import main
from thunderctl.deploying.strays import look_around, strays_of
from thunderctl.home import owner_id
from thunderctl.hosted.bundle import bundle_path
from thunderctl.hosted.moving import move, settle_in
from thunderctl.hosted.note import Moving, read_away, write_away
from thunderctl.hosted.place import ControlHost, host_of
from thunderctl.markets.own_hosts import ssh_provisioner
from thunderctl.spec.spec import load_spec
from thunderctl.store.moved import MovedAway
from thunderctl.store.store import Store
from thunderctl.store.values import Deployment, DeploymentState
from thunderctl.world import open_world

LEASE = "3f2c1e44-0000-4000-8000-000000000001"
SPEC = """
controller = {{ where = "ssh:office" }}
markets = {{ providers = ["ssh"] }}
leases = {{ settle_s = 0, poll_s = 0.1 }}
[ssh.hosts.office]
address = "{address}"
gpu = "CPU"
gpu_count = 1
key = "{key}"
folder = "{folder}"
"""


@dataclass
class Laptop:
    """This machine, with a home of its own, and the host that it may move to.

    `code` is a folder of our code on that host, which other tests' hosts have too: sent and compiled once.
    """

    home: Path
    office: Sshd
    output: pytest.CaptureFixture[str]
    code: Path

    def run(self, *arguments: str, code: int = 0, **variables: str) -> tuple[str, str]:
        """A command in this process, which has imported all of it; what it asks there is a process of its own."""
        self.output.readouterr()
        with patch.dict(os.environ, variables), pytest.raises(SystemExit) as ended:
            main(list(arguments))
        said, narrated = self.output.readouterr()
        assert ended.value.code == code, f"{arguments} ended with {ended.value.code}:\n{said}\n{narrated}"
        return said, narrated

    def host(self) -> ControlHost:
        found = host_of("ssh:office", load_spec(self.home.parent / "thunder.toml"))
        assert found is not None
        return found

    def move(self, *, without_code: bool = False) -> None:
        theirs = self.office.folder / ".local/share/thunderctl/hosted/code"
        if not without_code and not theirs.exists():
            theirs.parent.mkdir(parents=True)
            theirs.symlink_to(self.code)
        with open_world("default") as world:
            prepared = asyncio.run(settle_in(self.host(), "default", {"HF_TOKEN": "it's secret"}, print))
            asyncio.run(move(world, self.host(), prepared.folder, print))

    @property
    def there(self) -> Path:
        (found,) = (self.office.folder / ".local/share/thunderctl/hosted").glob("default-*")
        return found


@pytest.fixture(scope="session")
def code(tmp_path_factory):
    return tmp_path_factory.mktemp("code")


@pytest.fixture
def laptop(tmp_path, monkeypatch, capfd, code):
    with sshd(tmp_path / "office") as office:
        home = tmp_path / "home"
        monkeypatch.setenv("THUNDER_HOME", str(home))
        monkeypatch.chdir(tmp_path)
        text = SPEC.format(address=office.address, key=office.folder / "login", folder=tmp_path / "leased")
        (tmp_path / "thunder.toml").write_text(text)
        yield Laptop(home, office, capfd, code)


async def leased_for_real(laptop: Laptop) -> LeaseRow:
    """The host leased as a machine too, by the provisioner itself: a folder there, and a row here."""
    spec = load_spec(laptop.home.parent / "thunder.toml")
    label = Label(owner_id(), "default", LEASE)
    provisioner = ssh_provisioner(spec)
    try:
        (offer,) = await provisioner.offers()
        machine = await provisioner.lease(LeaseRequest(label, offer.offer_id, 0.0))
    finally:
        provisioner.close()
    row = LeaseRow(
        LEASE, owner_id(), "default", "p", "i0", "ssh", "", "office", str(label), 0.0, LeaseState.READY, time.time()
    )
    with Store() as store:
        document = spec.model_dump(mode="json", exclude_unset=True)
        store.save_deployment(Deployment("default", DeploymentState.SERVING, 4, "", "http://x", 1.5, document))
        store.add_lease(replace(row, provider_id=machine.provider_id))
        store.record("default", "told", "before it moved", figure=0.1)
    return row


def test_it_moves_is_looked_after_there_goes_down_there_and_comes_home(laptop):
    asyncio.run(leased_for_real(laptop))
    laptop.move(without_code=True)
    assert read_away("default").moving is Moving.THERE
    assert not bundle_path("default").exists()

    assert (laptop.there / "environment").read_text() == "HF_TOKEN='it'\"'\"'s secret'\n"
    assert {path.stat().st_mode & 0o77 for path in laptop.there.rglob("*")} == {0}

    said, _ = laptop.run("leases", "--json")  # asked here, answered there
    assert [one["state"] for one in json.loads(said)["leases"]] == ["ready"]
    said, _ = laptop.run("events", "--json")
    assert [one["message"] for one in json.loads(said)["events"]][:1] == ["before it moved"]

    laptop.run("down", "--yes", "--home")
    assert not (Path(laptop.home.parent) / "leased" / "machine").exists()
    assert read_away("default") is None
    assert not list((laptop.office.folder / ".local/share/thunderctl/hosted").glob("default-*"))
    with Store() as store:
        assert store.deployment("default").state is DeploymentState.ABSENT
        assert [row.state for row in store.leases("default")] == [LeaseState.GONE]
        assert [one.kind for one in store.events("default")][:1] == ["told"]
        with store.lock("default", "test"):
            pass


def test_the_store_that_it_left_leases_no_more(laptop):
    laptop.move()
    with Store() as store:
        for forbidden in (
            lambda: store.save_deployment(Deployment("default")),
            lambda: store.add_lease(
                LeaseRow(LEASE, "o", "default", "p", "i", "ssh", "", "x", "l", 0.0, LeaseState.SENT, 0)
            ),
            lambda: store.lock("default", "up").__enter__(),
            lambda: store.lock("default#controller", "lead").__enter__(),
        ):
            with pytest.raises(MovedAway, match="moved to another host"):
                forbidden()
        with store.lock("other", "up"):
            pass


def test_what_lives_elsewhere_is_no_concern_of_the_deployments_that_stayed(laptop):
    asyncio.run(leased_for_real(laptop))
    laptop.move()
    with open_world("other") as world:
        world.written = load_spec(laptop.home.parent / "thunder.toml")
        assert world.store.leases() == ()  # whether it runs is not known here
        assert [row.lease_id for row in world.store.leases("default")] == [LEASE]
        looked = asyncio.run(look_around(world))
        assert strays_of(looked, world.store.leases(), owner_id()) == ()
    laptop.run("down", "--yes")


@pytest.mark.parametrize(
    "label", ["M2", *(pytest.param(label, marks=pytest.mark.soak) for label in ("M1", "M3", "M4"))]
)
def test_killed_anywhere_it_is_gone_on_with_and_never_two_stores_may_lease(laptop, label):
    asyncio.run(leased_for_real(laptop))
    program = (
        "import asyncio; from pathlib import Path; from thunderctl.hosted.moving import move, settle_in; "
        "from thunderctl.hosted.place import host_of; from thunderctl.spec.spec import load_spec; "
        "from thunderctl.world import open_world\n"
        "host = host_of('ssh:office', load_spec(Path('thunder.toml')))\n"
        "with open_world('default') as world:\n"
        "    variables = {'THUNDER_CRASH_AT': 'M3'} if LABEL == 'M3' else {}\n"
        "    prepared = asyncio.run(settle_in(host, 'default', variables, print))\n"
        "    asyncio.run(move(world, host, prepared.folder, print))\n"
    ).replace("LABEL", repr(label))
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"THUNDER_CRASH_AT": label}, capture_output=True, text=True
    )
    assert done.returncode != 0, done.stderr
    assert may_lease_here() + may_lease_there(laptop) <= 1
    if label in ("M2", "M3", "M4"):
        assert not may_lease_here()
        _, narrated = laptop.run("leases", code=5)
        assert "on its way to office" in narrated
        assert "up" in narrated
    if label == "M3":
        (laptop.there / "environment").write_text("")
    laptop.move()
    assert (may_lease_here(), may_lease_there(laptop)) == (False, True)
    said, _ = laptop.run("leases", "--json")
    assert [one["state"] for one in json.loads(said)["leases"]] == ["ready"]
    laptop.run("down", "--yes")


def may_lease_here() -> bool:
    with Store() as store:
        return store.deployment("default").state is not DeploymentState.MOVED


def may_lease_there(laptop: Laptop) -> bool:
    path = laptop.there / "home" / "store.db"
    if not path.exists():
        return False
    with Store(f"sqlite:///{path}") as store:
        return store.deployment("default").state not in (DeploymentState.MOVED, DeploymentState.ABSENT)


def test_a_host_that_is_off_is_one_error_and_nothing_is_lost(laptop):
    laptop.move()
    away = read_away("default")
    laptop.office.process.terminate()
    laptop.office.process.wait(timeout=10)
    _, narrated = laptop.run("status", "--once", code=1)
    assert "where this deployment lives, can't be asked" in narrated
    laptop.run("down", "--yes", "--home", code=1)
    _, narrated = laptop.run("up", "--yes", code=1)
    assert "refused the connection" in narrated
    assert read_away("default") == away


def test_a_host_that_was_never_reached_leaves_the_deployment_where_it_is(laptop):
    laptop.office.process.terminate()
    laptop.office.process.wait(timeout=10)
    _, narrated = laptop.run("up", "--yes", code=1)
    assert "refused the connection" in narrated
    assert read_away("default") is None
    assert may_lease_here()


@pytest.mark.parametrize("moving", [Moving.THERE, Moving.GOING])
def test_on_the_users_word_that_the_host_is_gone_all_is_released_from_here(laptop, moving):
    asyncio.run(leased_for_real(laptop))
    laptop.move()
    write_away("default", replace(read_away("default"), moving=moving))  # as killed before the other side had it
    _, narrated = laptop.run("down", "--host-gone", "--yes")
    assert "thunderctl gc" in narrated
    assert not (Path(laptop.home.parent) / "leased" / "machine").exists()
    assert read_away("default") is None


def test_what_goes_there_is_said_and_asked_before_anything_is_done(laptop):
    _, narrated = laptop.run("up", code=4, VAST_API_KEY="k", HF_TOKEN="t")
    assert "To office go" in narrated
    assert f"HF_TOKEN, the SSH key {laptop.office.folder / 'login'}; the deployment's certificates" in narrated
    assert "VAST_API_KEY" not in narrated  # nothing is leased there by this spec
    assert read_away("default") is None
    assert not (laptop.office.folder / ".local").exists()


def test_to_live_elsewhere_it_comes_home_first(laptop):
    laptop.move()
    spec = laptop.home.parent / "thunder.toml"
    spec.write_text(spec.read_text().replace("ssh:office", "local"))
    _, narrated = laptop.run("up", "--yes", code=4)
    assert "lives on office" in narrated
    assert "down --home" in narrated


def test_machines_that_are_processes_of_this_one_keep_it_here(laptop):
    asyncio.run(leased_for_real(laptop))
    with Store() as store:
        row = LeaseRow("l2", "o", "default", "p", "i1", "local", "", "x", "l", 0.0, LeaseState.READY, time.time())
        store.add_lease(row)
    with pytest.raises(Refused, match="i1 of default are processes of this machine"):
        laptop.move()
    assert may_lease_here()


def test_a_clock_that_is_wrong_is_refused(laptop):
    folder = laptop.office.folder / "bin"
    folder.mkdir()
    (folder / "date").write_text("#!/bin/sh\necho 1000000000\n")
    (folder / "date").chmod(0o755)
    with pytest.raises(HostError, match=r"clock of office is \d+ s behind"):
        laptop.move()


def test_its_unit_is_enabled_where_the_user_has_a_systemd(laptop):
    folder = laptop.office.folder / "bin"
    folder.mkdir()
    log = laptop.office.folder / "asked"
    (folder / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{log}\n[ "$2" != is-system-running ] || echo running\n')
    (folder / "systemctl").chmod(0o755)
    laptop.move()
    (unit,) = (laptop.office.folder / ".config/systemd/user").glob("*.service")
    assert f"ExecStart={laptop.there}/thunderctl run controller" in unit.read_text()
    assert f"--user enable --quiet {unit.name}" in log.read_text()
    assert f"THUNDER_CONTROLLER_UNIT={unit.name}" in (laptop.there / "thunderctl").read_text()
    laptop.run("down", "--yes", "--home")
    assert not unit.exists()
