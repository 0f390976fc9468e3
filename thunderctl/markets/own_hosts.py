"""The machines that a spec says the user owns: `[ssh.hosts.NAME]`."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from planner.errors import SpecError
from planner.gpus import gpu_named
from provisioners.ssh.host import SshHost
from provisioners.ssh.login import SshAddress, SshKeys
from provisioners.ssh.provisioner import SshProvisioner
from thunderctl.home import thunder_home
from thunderctl.store.this_host import this_user

if TYPE_CHECKING:
    from planner.catalog import Offer
    from thunderctl.spec.sections import SshHostSection
    from thunderctl.spec.spec import Spec


def ssh_provisioner(spec: "Spec | None" = None) -> SshProvisioner:
    """The provisioner of the spec's hosts, and of those that leases were asked of before. Raises SpecError."""
    hosts = [ssh_host(name, section) for name, section in (spec.ssh.hosts if spec else {}).items()]
    script = files("templates").joinpath("release_machine.sh").read_text()
    return SshProvisioner(hosts, thunder_home() / "ssh", release_script=script)


async def live_hosts(spec: "Spec", narrate: Callable[[str], None]) -> "tuple[Offer, ...]":
    """The offers of the spec's hosts that answer and are free; `narrate` hears of the others."""
    provisioner = ssh_provisioner(spec)
    try:
        offers = await provisioner.offers()
    finally:
        provisioner.close()
    for name, problem in provisioner.left_out.items():
        narrate(f"Left out [ssh.hosts.{name}]: {problem}")
    return offers


def ssh_host(name: str, section: "SshHostSection") -> SshHost:
    """The host of one section. Raises SpecError naming the key."""
    try:
        gpu = gpu_named(section.gpu)
        address, jump = (
            SshAddress.parse(text, this_user()) if text else None for text in (section.address, section.jump)
        )
    except SpecError as error:
        raise SpecError(f"[ssh.hosts.{name}] {error.message}", hint=error.hint) from error
    if address is None:
        raise SpecError(f"[ssh.hosts.{name}] address is empty; expected user@host:port.")
    return SshHost(
        name=name,
        address=address,
        gpu=gpu.name,
        gpu_count=section.gpu_count,
        usd_per_hour=section.usd_per_hour,
        root=section.folder.rstrip("/"),
        reach=section.reach,
        keys=SshKeys((Path(section.key).expanduser(),) if section.key else ()),
        jump=jump,
        sudo=section.sudo,
        engine_python=section.engine_python,
    )
