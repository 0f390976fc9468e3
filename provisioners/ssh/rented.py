"""The way to machines that are rented: one SSH connection a machine, its host key pinned under the machine's own id."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from planner.errors import HostError
from provisioners.base import Machine
from provisioners.ssh.known_host import KnownHost
from provisioners.ssh.login import SshAddress, SshKeys, SshLogin
from provisioners.ssh.shell import SshShell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provisioners.ssh.connection import SshConnection
    from provisioners.ssh.transport import SshTransport


@dataclass(frozen=True, slots=True)
class RentedHosts:
    """Machines of one provider, by SSH as `user`; `public_key` is what they were told to let in.

    With `sudo` all is done as root there, by a user who may become it.

    Addresses are used again, so a host key belongs to the provider's id of a machine, in the file `known_hosts`.
    """

    provider: str
    known_hosts: Path
    keys: SshKeys = field(default_factory=SshKeys)
    public_key: str = ""
    user: str = "root"
    sudo: bool = False
    _connections: "dict[tuple[str, SshAddress], SshConnection]" = field(default_factory=dict, repr=False)

    def transport(
        self, machine: Machine, folder: str, admit: "Callable[[], Awaitable[None]] | None" = None
    ) -> "SshTransport":
        """Raises HostError until the provider has said where SSH reaches it.

        `admit` tells a provider's proxy to let our key in, where SSH goes through one: that comes before all else.
        """
        from provisioners.ssh.proxied import connection  # paramiko is loaded by who logs in
        from provisioners.ssh.transport import SshTransport

        login = self.shell(machine).login
        key = (machine.provider_id, login.address)
        if key not in self._connections:
            proxied = login.address.host != machine.address
            self._connections[key] = connection(login, admit if proxied else None)
        return SshTransport(self._connections[key], folder, sudo=self.sudo)

    def shell(self, machine: Machine) -> SshShell:
        """How a machine is logged in to. Raises HostError until the provider has said where SSH reaches it."""
        if machine.ssh is None:
            raise HostError(f"{self.provider}'s {machine.provider_id} is {machine.state}: it can't be reached yet.")
        address = SshAddress(*machine.ssh, user=self.user)
        known_host = KnownHost(self.known_hosts, f"{self.provider}-{machine.provider_id}")
        return SshShell(SshLogin(address, known_host, self.keys), self.sudo)

    def drop(self, provider_id: str) -> None:
        """Keep no connection to a machine that is to go, nor the threads that serve it. Waits for nothing."""
        for key in [key for key in self._connections if key[0] == provider_id]:
            self._connections.pop(key).close_soon()

    def close(self) -> None:
        """End the connections."""
        for one in self._connections.values():
            one.close()


class OnRentedHosts:
    """The part of a provisioner that reaches its machines: by SSH to `_hosts`, where all of ours lies in `_folder`."""

    _hosts: RentedHosts
    _folder: str

    def transport(self, machine: Machine) -> "SshTransport":
        return self._hosts.transport(machine, self._folder)

    def folder(self, machine: Machine) -> str:
        return self._folder

    def shell(self, machine: Machine) -> SshShell:
        return self._hosts.shell(machine)

    def close(self) -> None:
        """End the connections to machines; they are made again if they are needed again."""
        self._hosts.close()
