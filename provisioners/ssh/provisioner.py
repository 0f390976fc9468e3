"""The ssh provider: machines that the user owns, at the price stated. A lease is a folder on the host itself."""

import asyncio
import shlex
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from planner.catalog import Offer
from planner.errors import HostError, NoCapacity, OutcomeUnknown, ProvisioningError, SpecError
from provisioners.base import Label, LeaseRequest, Listing, Machine
from provisioners.crash import crash_point
from provisioners.local.machines import MachineRecord
from provisioners.local.processes import LEASE_VARIABLE
from provisioners.ssh.connection import SshConnection
from provisioners.ssh.host import PROVIDER, SshHost
from provisioners.ssh.inspection import HostFacts, inspect_command, why_not
from provisioners.ssh.known_host import KnownHost
from provisioners.ssh.leased import LOOK_S, TAKEN, read_lease, take
from provisioners.ssh.login import SshAddress, SshLogin
from provisioners.ssh.memory import HostMemory
from provisioners.ssh.shell import SshShell
from provisioners.ssh.transport import SshTransport

GRACE_S = 45
MEND = "Correct address, key or jump there, in the spec; `thunderctl doctor` tries each host."
RELEASE_MARGIN_S = 60.0
"""On top of the grace: for killing, and for removing a folder with weights in it."""


class SshProvisioner:
    """`hosts` are the spec's; `folder` is ours on this machine, for known host keys and the memory of leases.

    `release_script` is the text of `templates/release_machine.sh`; `grace_s` is how long processes may take to stop by
    themselves on release. A provider id is `user@host:port/lease`.
    """

    provider = PROVIDER
    consistent = True

    def __init__(
        self,
        hosts: Iterable[SshHost],
        folder: Path,
        *,
        release_script: str,
        grace_s: int = GRACE_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._hosts = tuple(hosts)
        self._known_hosts = folder / "known_hosts"
        self._memory = HostMemory(folder / "leases")
        self._release_script = release_script
        self._grace_s = grace_s
        self._now = now
        self._connections: dict[SshLogin, SshConnection] = {}
        self.left_out: dict[str, str] = {}

    async def offers(self) -> tuple[Offer, ...]:
        """The hosts that answer and are free; `left_out` says why which others are not among them.

        Raises ProvisioningError where there are hosts and none answers.
        """
        looks = await asyncio.gather(*(self._look(host) for host in self._hosts))
        found = list(zip(self._hosts, looks, strict=True))
        self.left_out = {host.name: _why_left_out(look) for host, look in found if look is not None}
        if looks and all(isinstance(look, HostError) for look in looks):
            said = " ".join(f"[ssh.hosts.{name}]: {problem}" for name, problem in self.left_out.items())
            raise ProvisioningError(f"None of [ssh.hosts] answers. {said}", hint=MEND)
        return tuple(host.offer() for host, look in found if look is None)

    async def silent(self) -> dict[str, str]:
        """Those of the hosts that do not let us in, by name, and why; leased or free is no matter."""
        looks = await asyncio.gather(*(self._look(host) for host in self._hosts))
        return {
            host.name: look.message
            for host, look in zip(self._hosts, looks, strict=True)
            if isinstance(look, HostError)
        }

    async def quote(self, offer_id: str) -> Offer | None:
        host = self._named(offer_id)
        if host is None:
            return None
        found = await self._look(host)
        if isinstance(found, HostError):
            raise ProvisioningError(f"The host {host.name} can't be asked: {found.message}", hint=found.hint)
        return host.offer() if found is None else None

    async def lease(self, request: LeaseRequest) -> Machine:
        host = self._checked(request)
        await self._inspect(host)  # a clear no has to come before anything is asked for
        lease_id = request.label.lease_id
        record = MachineRecord(str(request.label), request.offer_id, host.usd_per_hour, self._now())
        self._memory.remember(lease_id, host)
        try:
            got = await take(self._at(host), host, lease_id, record)
            found = record if got else await read_lease(self._at(host), host)
        except HostError as error:
            raise OutcomeUnknown(f"Whether {host.name} was leased is not known: {error.message}") from error
        if found is None or found.label != record.label:
            self._memory.forget(lease_id)
            raise NoCapacity(f"The host {host.name} is taken: {found.label if found else 'it was, a moment ago'}.")
        crash_point("C2")
        return self._machine(host, found)

    async def observe(self) -> Listing:
        """Incomplete while a host that a lease was asked of can't be read. A spare one that is off hides no lease."""
        try:
            asked = self._memory.hosts()
        except SpecError as error:
            return Listing(False, reason=error.message)
        hosts = tuple((asked | {host.place: host for host in self._hosts}).values())
        looks = await asyncio.gather(*(self._look(host) for host in hosts))
        found = list(zip(hosts, looks, strict=True))
        problems = [look.message for host, look in found if isinstance(look, HostError) and host.place in asked]
        machines = tuple(self._machine(host, look) for host, look in found if isinstance(look, MachineRecord))
        return Listing(not problems, machines, " ".join(problems))

    async def release(self, provider_id: str) -> None:
        address, _, lease_id = provider_id.rpartition("/")
        if not address:  # no machine of this provider was ever called so
            return
        if not _is_lease_id(lease_id):
            raise ProvisioningError(f"{provider_id!r} names no lease; what is on that host is not ours to remove.")
        await self._release(self._host_of(provider_id), lease_id)
        self._memory.forget(lease_id)

    def forget(self, lease_id: str) -> None:
        """Where it was asked for is not looked at any more on its account: it has ended, or was written off."""
        self._memory.forget(lease_id)

    def transport(self, machine: Machine) -> SshTransport:
        host = self._host_of(machine.provider_id)
        return self._at(host, host.folder, {LEASE_VARIABLE: machine.provider_id.rpartition("/")[2]})

    def folder(self, machine: Machine) -> str:
        return self._host_of(machine.provider_id).folder

    def shell(self, machine: Machine) -> SshShell:
        host = self._host_of(machine.provider_id)
        return SshShell(self._login(host), host.sudo)

    def close(self) -> None:
        """End the connections; they are made again if they are needed again."""
        for connection in self._connections.values():
            connection.close()

    async def _release(self, host: SshHost, lease_id: str) -> None:
        arguments = " ".join(shlex.quote(part) for part in (host.root, lease_id, str(self._grace_s)))
        timeout_s = self._grace_s + RELEASE_MARGIN_S
        try:
            done = await self._at(host).run(
                f"exec sh -s -- {arguments}", timeout_s=timeout_s, stdin=self._release_script.encode()
            )
        except HostError as error:
            raise ProvisioningError(f"{lease_id} can't be released: {error.message}", hint=error.hint) from error
        if done.code not in (0, TAKEN):
            raise ProvisioningError(f"{lease_id} can't be released on {host.address}: {done.complaint}.")

    async def _inspect(self, host: SshHost) -> None:
        """Raise NoCapacity, with nothing taken, unless the host is what the spec says."""
        try:
            await read_lease(self._at(host), host)
            done = await self._at(host).run(inspect_command(host.root), timeout_s=LOOK_S)
            problem = why_not(host, HostFacts.parse(done.stdout.decode(errors="replace")), self._now())
        except HostError as error:
            raise NoCapacity(f"The host {host.name} can't be leased: {error.message}", hint=error.hint) from error
        if problem:
            raise NoCapacity(f"The host {host.name} was refused: {problem}.", hint=f"Mend [ssh.hosts.{host.name}].")

    async def _look(self, host: SshHost) -> MachineRecord | HostError | None:
        try:
            return await read_lease(self._at(host), host)
        except HostError as error:
            return error

    def _checked(self, request: LeaseRequest) -> SshHost:
        host = self._named(request.offer_id)
        if host is None:
            raise NoCapacity(f"No host is called {request.offer_id!r}; see [ssh.hosts] of the spec.")
        if request.usd_per_hour < host.usd_per_hour:
            raise NoCapacity(f"{host.name} costs {host.usd_per_hour} $/h; the request allows {request.usd_per_hour}.")
        return host

    def _named(self, offer_id: str) -> SshHost | None:
        return next((host for host in self._hosts if host.name == offer_id), None)

    def _host_of(self, provider_id: str) -> SshHost:
        """Where that lease is: as it was remembered, but by the key and jump that the spec has for the same place now;
        else the spec's host of that address."""
        address, _, lease_id = provider_id.rpartition("/")
        remembered = self._memory.host(lease_id)
        if remembered is not None:
            mended = next((host for host in self._hosts if host.place == remembered.place), remembered)
            return replace(remembered, keys=mended.keys, jump=mended.jump)
        if host := next((host for host in self._hosts if str(host.address) == address), None):
            return host
        raise ProvisioningError(
            f"No host of the spec is {address}, where {lease_id} is leased.",
            hint="Put it back under [ssh.hosts]: its processes run on.",
        )

    def _machine(self, host: SshHost, record: MachineRecord) -> Machine:
        label = Label.parse(record.label)
        provider_id = f"{host.address}/{label.lease_id if label else ''}"
        reach = host.reach or host.address.host
        return Machine(
            provider_id,
            record.label,
            "running",
            record.usd_per_hour,
            reach,
            record.created_at,
            engine_python=host.engine_python,
        )

    def _at(self, host: SshHost, folder: str = "/", environment: dict[str, str] | None = None) -> SshTransport:
        login = self._login(host)
        if login not in self._connections:
            self._connections[login] = SshConnection(login)
        return SshTransport(self._connections[login], folder, environment=environment, sudo=host.sudo)

    def _login(self, host: SshHost) -> SshLogin:
        jump = SshLogin(host.jump, self._known(host.jump), host.keys) if host.jump else None
        return SshLogin(host.address, self._known(host.address), host.keys, jump)

    def _known(self, address: SshAddress) -> KnownHost:
        return KnownHost(self._known_hosts, f"{address.host}:{address.port}")


def _why_left_out(look: MachineRecord | HostError) -> str:
    if isinstance(look, HostError):
        return f"{look.message} {look.hint}".strip()
    return f"it is leased as {look.label}. A lease of ours that no deployment has any more ends by: thunderctl gc"


def _is_lease_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
