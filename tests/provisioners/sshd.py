"""Real OpenSSH servers on loopback, as this user, with keys of their own: what tests log in to."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from getpass import getuser
from importlib.resources import files
from pathlib import Path
from typing import Any

import psutil
import pytest

from provisioners.ssh.host import SshHost
from provisioners.ssh.known_host import KnownHost
from provisioners.ssh.login import SshAddress, SshKeys, SshLogin
from provisioners.ssh.provisioner import SshProvisioner
from tests.provisioners.networks import Network

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin") or ""
PRIVILEGE_FOLDER = Path("/run/sshd")
"""Started by root, OpenSSH wants it there; only its service makes it."""
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
UP_S = 10.0
LOOPBACK = Network("127.0.0.1", ())
KNOWN_CODE = f"XDG_CACHE_HOME={os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'}"
"""So that engines there need not compile what they have compiled here: 20 s of CPU time for each host."""


@dataclass(frozen=True, slots=True)
class Sshd:
    """One server, and how to get in."""

    process: psutil.Process
    folder: Path
    port: int
    host: str = "127.0.0.1"

    @property
    def address(self) -> SshAddress:
        return SshAddress(self.host, self.port, getuser())

    @property
    def keys(self) -> SshKeys:
        return SshKeys((self.folder / "login",), agent=False)

    def login(self, known_hosts: Path, jump: SshLogin | None = None) -> SshLogin:
        return SshLogin(self.address, KnownHost(known_hosts, str(self.address)), self.keys, jump)

    def cut_connections(self) -> int:
        """Kill the processes that serve connections, as a broken line would; the server itself stays."""
        serving = [child for child in self.process.children(recursive=True) if child.name().startswith("sshd")]
        for process in serving:
            process.kill()
        return len(serving)


def skip_without_sshd() -> None:
    if not SSHD:
        pytest.skip("There is no sshd on this machine: install openssh-server (make system-deps).")


@contextmanager
def sshd(
    folder: Path, *, port: int = 0, extra: str = "", network: Network = LOOPBACK, environment: str = ""
) -> Iterator[Sshd]:
    """Serve until the block ends. A server started again in the same folder and on the same port is the same host.

    `environment` is more of what those who log in have, as NAME=VALUE NAME=VALUE.
    """
    skip_without_sshd()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("host", "login"):
        make_key(folder / name)
    (folder / "authorized_keys").write_text((folder / "login.pub").read_text())
    port = port or free_port()
    config = folder / "sshd_config"
    environment = f"HOME={folder} PATH={folder}/bin:{PATH} {environment}"  # shell files may take a second to read
    config.write_text(
        f"ListenAddress {network.address}:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\nUsePAM no\nPidFile none\n"
        f"Subsystem sftp internal-sftp\nPrintMotd no\nPermitRootLogin yes\nMaxStartups 100\n"
        f"SetEnv {environment}\n{extra}"
    )
    if os.geteuid() == 0:
        PRIVILEGE_FOLDER.mkdir(mode=0o755, exist_ok=True)
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([*network.through, SSHD, "-D", "-e", "-f", str(config)], stderr=log)
    try:
        _wait_until_it_listens(process, (network.address, port), folder / "log")
        yield Sshd(psutil.Process(process.pid), folder, port, network.address)
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
            with suppress(psutil.NoSuchProcess):  # a connection that ends at this moment
                if child.name().startswith("sshd"):
                    child.kill()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)


def make_key(path: Path) -> None:
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_listens(process: subprocess.Popen[bytes], address: tuple[str, int], log: Path) -> None:
    deadline = time.monotonic() + UP_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(address) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.skip(f"sshd does not serve here: {log.read_text()[-300:]}")
        time.sleep(0.02)


def cpu_host(server: Sshd, name: str, root: Path) -> SshHost:
    """That server as a host of the spec, with no GPU; what is leased there lies below `root`."""
    return SshHost(name, server.address, "CPU", 1, 0.02, root=str(root), keys=server.keys)


def ssh_provisioner(hosts: Iterable[SshHost], folder: Path, **more: Any) -> SshProvisioner:
    script = files("templates").joinpath("release_machine.sh").read_text()
    return SshProvisioner(hosts, folder, release_script=script, **{"grace_s": 1, **more})


@contextmanager
def ssh_servers(folder: Path, count: int) -> Iterator[list[SshHost]]:
    """So many hosts, each with a server of its own."""
    with ExitStack() as stack:
        servers = [stack.enter_context(sshd(folder / f"sshd{i}")) for i in range(count)]
        yield [cpu_host(server, f"host{i}", folder / f"host{i}") for i, server in enumerate(servers)]


@contextmanager
def ssh_hosts(folder: Path, count: int) -> Iterator[SshProvisioner]:
    """Their provisioner."""
    with ssh_servers(folder, count) as hosts:
        provisioner = ssh_provisioner(hosts, folder / "home")
        yield provisioner
        provisioner.close()
