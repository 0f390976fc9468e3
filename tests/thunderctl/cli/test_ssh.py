"""`thunderctl ssh` as a user meets it: on real OpenSSH servers, and on a machine of this host."""

import json
import shlex
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from planner.errors import HostError, SpecError
from provisioners.base import Label, Machine
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.local.machines import RECORD, MachineRecord
from provisioners.ssh.known_host import KnownHost
from provisioners.ssh.login import SshAddress, SshKeys, SshLogin
from provisioners.ssh.rented import RentedHosts
from provisioners.ssh.shell import SshShell, in_folder
from tests.provisioners.sshd import make_key, sshd
from thunderctl.cli.main import main
from thunderctl.home import owner_id
from thunderctl.hosts import shells
from thunderctl.markets.own_hosts import ssh_provisioner
from thunderctl.observing.leased_machines import LeasedMachine
from thunderctl.spec.spec import parse_spec
from thunderctl.store.store import Store
from thunderctl.store.values import Deployment, DeploymentState

LEASE = "3f2c1e44-0000-4000-8000-000000000001"
SPEC = """
[markets]
providers = ["ssh"]
[ssh.hosts.lab]
address = "{address}"
gpu = "CPU"
gpu_count = 1
key = "{key}"
folder = "{folder}"
jump = "{jump}"
"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "the home"))  # with a blank, as on a Mac
    monkeypatch.chdir(tmp_path)
    return tmp_path / "the home"


def saved(provider, provider_id, spec=""):
    """A lease of that machine as i0, of a deployment with that spec."""
    label = str(Label(owner_id(), "default", LEASE))
    row = LeaseRow(
        LEASE, owner_id(), "default", "p", "i0", provider, "", "lab", label, 0.0, LeaseState.READY, time.time()
    )
    with Store() as store:
        given = parse_spec(spec).model_dump(mode="json", exclude_unset=True) if spec else {}
        store.save_deployment(Deployment("default", DeploymentState.SERVING, spec=given))
        store.add_lease(replace(row, provider_id=provider_id))
    return label


def leased(server, folder, jump=""):
    """That host of one's own, leased; its instance's folder is `folder`/machine."""
    key = server.folder / "login"
    label = saved(
        "ssh", f"{server.address}/{LEASE}", SPEC.format(address=server.address, key=key, folder=folder, jump=jump)
    )
    provisioner = ssh_provisioner(parse_spec(SPEC.format(address=server.address, key=key, folder=folder, jump=jump)))
    provisioner._memory.remember(LEASE, provisioner._hosts[0])
    machine = folder / "machine"
    machine.mkdir(parents=True)
    (machine / RECORD).write_text(json.dumps(asdict(MachineRecord(label, "lab", 0.0, time.time()))))


def thunderctl(*arguments):
    return subprocess.run(
        [sys.executable, "-P", "-m", "thunderctl", *arguments], capture_output=True, text=True, timeout=240, check=False
    )


def test_a_command_runs_in_the_instances_folder_and_its_exit_code_comes_back(tmp_path, home):
    with sshd(tmp_path / "sshd") as server:
        leased(server, tmp_path / "the host")
        done = thunderctl("ssh", "i0", "--", "pwd;", "echo $HOME | cat;", "exit 7")
        assert (done.returncode, done.stdout.splitlines()) == (7, [f"{tmp_path}/the host/machine", str(server.folder)])
        pinned = (home / "ssh" / "known_hosts").read_text()
        assert pinned.startswith(f"127.0.0.1:{server.port} ssh-ed25519 ")
        assert (home / "ssh" / "known_hosts").read_text() == pinned, "ssh itself writes nothing there"


def test_through_a_jump_host_whose_key_is_pinned_as_well(tmp_path, home):
    with sshd(tmp_path / "gate") as gate, sshd(tmp_path / "sshd") as server:
        (tmp_path / "gate" / "authorized_keys").write_text((server.folder / "login.pub").read_text())
        leased(server, tmp_path / "host", jump=str(gate.address))
        done = thunderctl("ssh", "i0", "--", "echo", "$SSH_CONNECTION")
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[-1] == str(server.port)
        assert len((home / "ssh" / "known_hosts").read_text().splitlines()) == 2
        assert "subsystem" not in (gate.folder / "log").read_text()


def test_a_host_key_that_changed_is_an_error_and_nobody_is_logged_in_to(tmp_path, home):
    with sshd(tmp_path / "sshd") as server:
        leased(server, tmp_path / "host")
        make_key(tmp_path / "other")
        other = (tmp_path / "other.pub").read_text().split()[:2]
        (home / "ssh").mkdir(exist_ok=True)
        (home / "ssh" / "known_hosts").write_text(f"127.0.0.1:{server.port} {' '.join(other)}\n")
        done = thunderctl("ssh", "i0", "--", "echo", "in")
        assert done.returncode == 1
        assert "in\n" not in done.stdout
        assert "host key" in done.stderr


def test_ssh_itself_refuses_a_host_that_shows_another_key_than_the_pinned_one(tmp_path):
    """Between our look and its connection somebody else may have taken the address."""
    with sshd(tmp_path / "sshd") as server:
        make_key(tmp_path / "other")
        known = tmp_path / "known hosts"
        known.write_text(f"vast-7 {' '.join((tmp_path / 'other.pub').read_text().split()[:2])}\n")
        shell = SshShell(SshLogin(server.address, KnownHost(known, "vast-7"), server.keys))
        done = subprocess.run(shell.arguments("echo in", terminal=False), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (255, "")
        assert "Host key verification failed" in done.stderr


def test_a_machine_that_is_rented_is_logged_in_to_with_the_deployments_key_under_its_own_name(tmp_path):
    """The address may have been another machine's before: what is pinned belongs to the provider's id."""
    with sshd(tmp_path / "sshd") as server:
        make_key(tmp_path / "ours")
        (server.folder / "authorized_keys").write_text((tmp_path / "ours.pub").read_text())
        key = (server.folder / "host.pub").read_text().split()[:2]
        (tmp_path / "known%h").write_text(f"vast-9 {' '.join(key)}\n127.0.0.1 ssh-ed25519 AAAA\n")
        hosts = RentedHosts("vast", tmp_path / "known%h", SshKeys(first=tmp_path / "ours"), user=server.address.user)
        shell = hosts.shell(Machine("9", "l", "running", 1.0, "127.0.0.1", ssh=("127.0.0.1", server.port)))
        done = subprocess.run(
            shell.arguments(in_folder(str(tmp_path), ["ls", "-d", "sshd"]), terminal=False),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "sshd\n"), done.stderr


def test_a_rented_machine_without_an_address_is_said(tmp_path):
    hosts = RentedHosts("aws", tmp_path / "known")
    with pytest.raises(HostError, match="aws's i-7 is pending: it can't be reached yet"):
        hosts.shell(Machine("i-7", "l", "pending", 1.0))


def test_as_root_by_sudo_in_the_folder_and_a_shell_there_without_a_command():
    login = SshLogin(SshAddress("2001:db8::7", 2200, "ubuntu"), KnownHost(Path("/h/k"), "aws-i-7"))
    arguments = SshShell(login, sudo=True).arguments(in_folder("/opt/a b", []), terminal=True)
    assert arguments[arguments.index("-t") :][1:6] == ["-p", "2200", "-l", "ubuntu", "--"]
    assert arguments[-2] == "2001:db8::7"
    assert shlex.split(arguments[-1])[:5] == ["exec", "sudo", "-n", "--", "/bin/sh"]
    assert "cd '/opt/a b' || echo" in shlex.split(arguments[-1])[-1]
    assert 'exec "${SHELL:-/bin/sh}"' in arguments[-1]


def local_machine(home):
    label = saved("local", LEASE)
    folder = home / "local" / LEASE
    (folder / "logs").mkdir(parents=True)
    (folder / RECORD).write_text(json.dumps(asdict(MachineRecord(label, "local-slot", 0.02, time.time()))))
    return folder


def test_on_a_machine_of_this_host_it_is_a_shell_in_its_folder(home):
    folder = local_machine(home)
    done = thunderctl("ssh", "i0", "--", "pwd; exit 3")
    assert (done.returncode, done.stdout.strip()) == (3, str(folder))
    assert thunderctl("ssh", LEASE, "--", "ls", "-d", "logs").stdout == "logs\n"


def test_an_instance_that_there_is_not_is_refused_with_those_there_are(home, capsys):
    local_machine(home)
    with pytest.raises(SystemExit) as ended:
        main(["ssh", "i9"])
    assert ended.value.code == SpecError.exit_code
    assert "No instance is called 'i9'; expected one of i0." in capsys.readouterr().err


class Rented:
    """Logged in to by SSH, if there were a program for that."""

    def folder(self, _):
        return "/root/thunder/machine"

    def shell(self, _):
        raise AssertionError

    transport = close = shell


async def test_without_an_ssh_program_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shells.shutil, "which", lambda _: None)
    world = SimpleNamespace(provisioner=lambda _: Rented())
    row = LeaseRow(LEASE, "o", "default", "p", "i0", "vast", "", "o", "label", 0.0, LeaseState.READY, 0.0)
    there = LeasedMachine(row, Machine("7", "label", "running", 0.0))
    with pytest.raises(HostError, match="no `ssh` program") as raised:
        await shells.shell_command(world, there, [], terminal=False)
    assert "openssh-client" in raised.value.hint
    with pytest.raises(HostError, match=r"i0 \(ready\) can't be reached: vast does not list it"):
        await shells.shell_command(world, LeasedMachine(row, None, "vast does not list it"), [], terminal=False)
