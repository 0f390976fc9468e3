"""The command that gives a person a shell on an instance, or runs a line there: `ssh`, or a shell of this host."""

import shutil
from collections.abc import Sequence

from planner.errors import HostError
from provisioners.base import LogsIn
from provisioners.ssh.shell import in_folder
from thunderctl.observing.leased_machines import LeasedMachine
from thunderctl.world import World


async def shell_command(world: World, leased: LeasedMachine, words: Sequence[str], *, terminal: bool) -> list[str]:
    """What is to be executed. Raises HostError where the machine can't be logged in to.

    It was logged in to once when this returns: then its host key is pinned, and a provider's proxy has been told of our
    key, so that `ssh` itself trusts nobody at first sight.
    """
    machine, provisioner = leased.there, world.provisioner(leased.lease.provider)
    remote = in_folder(provisioner.folder(machine), words)
    if not isinstance(provisioner, LogsIn):  # a machine of this host
        return ["/bin/sh", "-c", remote]
    if shutil.which("ssh") is None:
        raise HostError(
            "There is no `ssh` program on this machine's PATH.",
            hint="Install OpenSSH's client: apt install openssh-client",
        )
    try:
        shell = provisioner.shell(machine)
        await provisioner.transport(machine).reach()
    finally:
        provisioner.close()
    return shell.arguments(remote, terminal=terminal)
