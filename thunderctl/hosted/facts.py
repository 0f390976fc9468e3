"""What a host of one's own has that controller or router shall live on, and whether it will do."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from shlex import join

from planner.errors import HostError
from provisioners.ssh.transport import SshTransport
from thunderctl.hosted.place import ControlHost

PROBE_S = 60.0
CLOCK_S = 120.0
"""Leases end by the clock of who looks after them."""
ENVIRONMENT_GB, HOME_GB = 2.0, 0.2


@dataclass(frozen=True, slots=True)
class ControlFacts:
    """`base` is the folder of all deployments that live there. `given`: the interpreter that was asked about will do;
    `made`: there is one that we made. `units`: the user has a systemd of his own."""

    base: str
    os: str
    arch: str
    now: float
    disk_free_gb: float
    writable: bool = False
    code: bool = False
    made: bool = False
    given: bool = False
    units: bool = False


async def look(transport: SshTransport, code: str, environment: str, given: str, proof: str) -> ControlFacts:
    """Ask the host. Raises HostError."""
    command = join(("sh", "-s", "--", code, environment, given, proof))
    done = await transport.run(command, timeout_s=PROBE_S, stdin=_probe().encode())
    if done.code != 0:
        raise HostError(f"The host can't be probed: code {done.code}, {done.complaint or 'and not a word'}.")
    return read_facts(done.stdout.decode(errors="replace"))


def read_facts(text: str) -> ControlFacts:
    """What the probe printed. Raises HostError."""
    said = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    flags = {name: name in said for name in ("writable", "code", "made", "given", "units")}
    try:
        free_gb = int(said["disk_free_kib"]) * 1024 / 1e9
        return ControlFacts(said["base"], said["os"], said["arch"], float(said["now"]), free_gb, **flags)
    except (KeyError, ValueError) as error:
        raise HostError(f"The host answered the probe with {text[:200]!r}; expected its facts.") from error


def check(facts: ControlFacts, host: ControlHost, *, now: float) -> None:
    """Raise HostError, naming what is amiss, where nothing of ours should live there."""
    late_s = facts.now - now
    needs_gb = HOME_GB if facts.given or facts.made else ENVIRONMENT_GB
    if abs(late_s) > CLOCK_S:
        raise HostError(
            f"The clock of {host.name} is {abs(late_s):.0f} s {'ahead of' if late_s > 0 else 'behind'} this machine's; "
            f"expected {CLOCK_S:.0f} at most, as leases end by it.",
            hint="Set it: timedatectl set-ntp true",
        )
    if not facts.writable:
        raise HostError(
            f"{host.address.user} may not write to {facts.base} on {host.name}, where all of ours would lie."
        )
    if facts.disk_free_gb < needs_gb:
        raise HostError(f"{host.name} has {facts.disk_free_gb:.1f} GB free at {facts.base}; expected {needs_gb:g}.")
    if not (facts.given or facts.made) and (facts.os, facts.arch) != ("Linux", "x86_64"):
        raise HostError(
            f"{host.name} runs {facts.os} on {facts.arch}, for which there is no uv here; expected Linux on x86_64.",
            hint="Or have an environment with thunderctl's packages there, at the same path as here.",
        )


@cache
def _probe() -> str:
    return files("templates").joinpath("control_probe.sh").read_text()
