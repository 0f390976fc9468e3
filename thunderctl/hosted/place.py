"""`local | ssh:HOST`: the host of one's own that a place in the spec names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from provisioners.ssh.known_host import KnownHost
from provisioners.ssh.login import SshAddress, SshKeys, SshLogin
from provisioners.ssh.shell import SshShell
from thunderctl.home import thunder_home
from thunderctl.spec.places import HERE, host_called
from thunderctl.store.this_host import this_user

if TYPE_CHECKING:
    from provisioners.ssh.connection import SshConnection
    from provisioners.ssh.transport import SshTransport
    from thunderctl.spec.spec import Spec

COMMAND, FILES = "thunderctl", "files"
"""In a deployment's folder on its host: the command that runs there, and what its words name of this machine's."""


@dataclass(frozen=True, slots=True)
class ControlHost:
    """A host of one's own that may hold credentials: never a rented one. `name` is what people call it."""

    name: str
    address: SshAddress
    key: str = ""
    jump: str = ""
    sudo: bool = False
    agent: bool = True

    @property
    def identity(self) -> str:
        """What tells it from others, whatever people call it: whose home on which server, and by which way."""
        return f"{self.address}{f' by {self.jump}' if self.jump else ''}"

    @property
    def login(self) -> SshLogin:
        """By the key of the spec, the agent's and the usual ones; its host key is pinned with those of other hosts."""
        keys = SshKeys((Path(self.key).expanduser(),) if self.key else (), agent=self.agent)
        jump = SshAddress.parse(self.jump, this_user()) if self.jump else None
        return SshLogin(self.address, _known(self.address), keys, SshLogin(jump, _known(jump), keys) if jump else None)

    @property
    def shell(self) -> SshShell:
        return SshShell(self.login, self.sudo)

    def connection(self) -> "SshConnection":
        """Not made yet; whoever asks for it closes it."""
        from provisioners.ssh.connection import SshConnection  # paramiko, which commands that `ssh` carries do without

        return SshConnection(self.login)

    def transport(self, connection: "SshConnection", folder: str) -> "SshTransport":
        from provisioners.ssh.transport import SshTransport

        return SshTransport(connection, folder, sudo=self.sudo)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "address": str(self.address),
            "key": self.key,
            "jump": self.jump,
            "sudo": self.sudo,
            "agent": self.agent,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or SpecError for what `to_json` did not write."""
        given = dict(document)
        return cls(address=SshAddress.parse(given.pop("address")), **given)


def host_of(place: str, spec: "Spec") -> ControlHost | None:
    """The host that a place names, by a section of `[ssh.hosts]` or by its address; None for this machine."""
    if place == HERE:
        return None
    named = host_called(place)
    if named not in spec.ssh.hosts:
        return ControlHost(named, SshAddress.parse(named, this_user()))
    from thunderctl.markets.own_hosts import ssh_host

    host = ssh_host(named, spec.ssh.hosts[named])
    key = str(host.keys.files[0]) if host.keys.files else ""
    return ControlHost(named, host.address, key, str(host.jump) if host.jump else "", host.sudo)


def _known(address: SshAddress) -> KnownHost:
    return KnownHost(thunder_home() / "ssh" / "known_hosts", f"{address.host}:{address.port}")
