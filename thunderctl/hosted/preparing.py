"""A host of one's own made ready for a controller or a router: our code, its environment, the command, the unit.

Each step may be done twice, and one that was cut off leaves nothing that counts.
"""

import posixpath
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from planner.errors import HostError
from provisioners.hosts.environment import MAKE_TIMEOUT_S
from provisioners.rendering import rendered
from provisioners.ssh.transport import SshTransport
from thunderctl.home import owner_id
from thunderctl.hosted.credentials import environment_file, merged, read_environment
from thunderctl.hosted.environment import LOCK, UV, environment_key, made_folder, make_script, proof
from thunderctl.hosted.facts import ControlFacts, check, look
from thunderctl.hosted.place import COMMAND, FILES, ControlHost
from thunderctl.hosts.locks import lock_text, uv_for_hosts
from thunderctl.hosts.payload import control_payload

OWNER_CHARACTERS = 8
QUICK_S = 60.0
CONTROLLER, ROUTER = "", "router"
ENVIRONMENT = "environment"

Narrate = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Where a deployment's folder is on a host, and the systemd unit of its controller, if it has one."""

    folder: str
    unit: str = ""


async def prepare(
    transport: SshTransport,
    host: ControlHost,
    deployment: str,
    variables: Mapping[str, str],
    narrate: Narrate,
    *,
    role: str = CONTROLLER,
) -> Prepared:
    """Make the host ready; `variables` are added to those that it has. The transport's folder is the root.

    For another `role` than the controller's it gets a folder of its own.

    Raises HostError naming what is amiss.
    """
    payload = control_payload()
    facts = await look(transport, payload.digest, environment_key(), sys.executable, proof())
    check(facts, host, now=time.time())
    folder = f"{facts.base}/{deployment}{role and '-'}{role}-{owner_id()[:OWNER_CHARACTERS]}"
    folders = [f"{folder}/{name}" for name in ("home", "work", FILES)] + [f"{facts.base}/code", f"{facts.base}/run"]
    await _done(transport, f"umask 077; mkdir -p {' '.join(folders)}", "make its folders")
    code = f"{facts.base}/code/{payload.digest}"
    if not facts.code:
        narrate(f"Sending thunderctl to {host.name}.")
        await _put(transport, f"{code}.tar.gz", payload.data, 0o600)
        await _done(transport, _unpack(code), "unpack our code")
    if not (facts.given or facts.made):
        narrate(f"Making its environment on {host.name}: a minute or some.")
        await _make_environment(transport, facts)
    python = sys.executable if facts.given else f"{made_folder(facts.base)}/bin/python"
    unit = unit_name(deployment) if facts.units and role == CONTROLLER else ""
    await _merge_environment(transport, folder, variables)
    await _put(transport, f"{folder}/{COMMAND}", _command(deployment, folder, host, code, python, unit), 0o700)
    if unit:
        await _enable(transport, deployment, folder, unit)
    return Prepared(folder, unit)


def unit_name(deployment: str) -> str:
    return f"thunder-controller-{deployment}-{owner_id()[:OWNER_CHARACTERS]}.service"


async def send_files(transport: SshTransport, wanted: Mapping[str, Path]) -> None:
    """Path there → file or folder here; readable by their user alone."""
    for name, path in wanted.items():
        if path.is_dir():
            await transport.send(path, _below_root(name))
        else:
            await _put(transport, name, path.read_bytes(), 0o600)


def _command(deployment: str, folder: str, host: ControlHost, code: str, python: str, unit: str) -> bytes:
    template = files("templates").joinpath("control_command.sh.j2").read_text()
    values = {"folder": folder, "name": host.name, "code": code, "python": python, "unit": unit}
    return rendered(template, deployment=deployment, **values).encode()


def _unpack(code: str) -> str:
    """`.whole` comes last, and then the name: half an archive never counts as our code."""
    return (
        f"set -e; umask 077; rm -rf {code}.new; mkdir {code}.new; tar -xzf {code}.tar.gz -C {code}.new; "
        f"touch {code}.new/.whole; rm -rf {code}; mv {code}.new {code}; rm {code}.tar.gz"
    )


async def _make_environment(transport: SshTransport, facts: ControlFacts) -> None:
    await _put(transport, f"{facts.base}/{LOCK}", lock_text("hosted.txt").encode(), 0o600)
    await transport.send(uv_for_hosts(), _below_root(f"{facts.base}/{UV}"))
    await _done(transport, f"cd {facts.base}\n{make_script(facts.base)}", "make the environment", MAKE_TIMEOUT_S)


async def _merge_environment(transport: SshTransport, folder: str, variables: Mapping[str, str]) -> None:
    path = f"{folder}/{ENVIRONMENT}"
    done = await transport.run(f"[ ! -e {path} ] || cat {path}", timeout_s=QUICK_S)
    if done.code != 0:
        raise HostError(f"{path} can't be read there: {done.complaint}")
    await _put(transport, path, environment_file(merged(read_environment(done.stdout), variables)), 0o600)


async def _enable(transport: SshTransport, deployment: str, folder: str, unit: str) -> None:
    """So that the controller is started again when it fails, and when the host was off; the user's units outlive
    logins where the host lets them."""
    text = rendered(files("templates").joinpath("control.service.j2").read_text(), deployment=deployment, folder=folder)
    units = (await _done(transport, 'printf %s "$HOME/.config/systemd/user"', "find its units")).decode()
    await _put(transport, posixpath.join(units, unit), text.encode(), 0o600)
    command = f"systemctl --user daemon-reload && systemctl --user enable --quiet {unit}; loginctl enable-linger"
    await _done(transport, f"{command} 2>/dev/null || true", "enable its unit")


async def _put(transport: SshTransport, path: str, data: bytes, mode: int) -> None:
    await transport.put(_below_root(path), data, mode)


def _below_root(path: str) -> str:
    return path.lstrip("/")


async def _done(transport: SshTransport, command: str, why: str, timeout_s: float = QUICK_S) -> bytes:
    done = await transport.run(command, timeout_s=timeout_s)
    if done.code != 0:
        raise HostError(f"The command to {why} failed with code {done.code}: {done.complaint}")
    return done.stdout
