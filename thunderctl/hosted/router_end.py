"""A router on another host, ended: by its link, or without one, where that was killed or could not end it.

A note in the router's folder here says from before it is started there until it has ended there where it may run.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from planner.errors import HostError, SpecError
from provisioners.ssh.transport import SshTransport
from runtime.files import write_json, write_private
from runtime.router.watching.usage import USAGE_FILE
from thunderctl.hosted.place import COMMAND, ControlHost
from thunderctl.processes.router_process import THERE

MARGIN_S = 30.0


@dataclass(frozen=True, slots=True)
class RouterThere:
    """Where a router may run: `folder` is its own on `host`, from the root; `grace_s` is what its requests get."""

    host: ControlHost
    folder: str
    grace_s: float

    def note(self, router: Path) -> None:
        write_json(router / THERE, {"host": self.host.to_json(), "folder": self.folder, "grace_s": self.grace_s})


def noted(router: Path) -> RouterThere:
    """Raises SpecError for a note that can't be read: it must not be guessed."""
    try:
        found = json.loads((router / THERE).read_text())
        return RouterThere(ControlHost.from_json(found["host"]), found["folder"], float(found["grace_s"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpecError(
            f"{router / THERE} says where the router runs, and can't be read: {error!r}.",
            hint="End the router there by hand, then remove that file.",
        ) from error


async def end_by(root: SshTransport, there: RouterThere, router: Path, keys: Path) -> None:
    """End it, take home what it counted, and remove what it was given. Done again it does nothing.

    Raises HostError for what could not be done there; the note stays then.
    """
    command = f"{there.folder}/{COMMAND}"
    with _undone(f"The router on {there.host.name} can't be ended"):
        await _do(root, f"[ ! -e {command} ] || {command} run router-there --stop", there.grace_s + MARGIN_S)
    with suppress(HostError):  # it counted nothing
        used = await root.get(f"{there.folder}/home/keys/{USAGE_FILE}".lstrip("/"))
        write_private(keys.with_name(USAGE_FILE), used)
    with _undone(f"What the router on {there.host.name} was given can't be removed there"):
        await _do(root, f"rm -rf {there.folder}", MARGIN_S)
    (router / THERE).unlink(missing_ok=True)


async def end_noted(router: Path, keys: Path) -> None:
    """End what the note names, over a connection of its own. Raises HostError, SpecError."""
    there = noted(router)
    connection = there.host.connection()
    try:
        await end_by(there.host.transport(connection, "/"), there, router, keys)
    finally:
        connection.close()


async def _do(root: SshTransport, command: str, timeout_s: float) -> None:
    """Raises HostError where it fails too."""
    done = await root.run(command, timeout_s=timeout_s)
    if done.code != 0:
        raise HostError(done.complaint)


@contextmanager
def _undone(what: str) -> Iterator[None]:
    """What fails within is said to be that, with the mend."""
    try:
        yield
    except HostError as error:
        raise HostError(
            f"{what}: {error.message}",
            hint="Try again when that host can be reached; if it is gone for good: thunderctl down --host-gone",
        ) from error
