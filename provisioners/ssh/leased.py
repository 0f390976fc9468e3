"""The lease of a host, on the host itself: a folder that only one can make, with a record of who did.

It is filled under another name and renamed into place: rename(2) replaces no folder that holds anything. So there is
never a lease without its label, and of several that want the host, under whatever user, one gets it.
"""

import json
import shlex
from dataclasses import asdict

from planner.errors import HostError
from provisioners.local.machines import RECORD, MachineRecord
from provisioners.ssh.host import SshHost
from provisioners.ssh.transport import SshTransport

LOOK_S = 30.0
TAKEN = 17
OPEN_TO_ALL = 1777
"""The root's mode, where we make it: as that of /tmp, so that another user's lease can be made after ours."""


async def read_lease(at: SshTransport, host: SshHost) -> MachineRecord | None:
    """Who has the host; None when nobody has. Raises HostError where that can't be known."""
    folder = shlex.quote(host.folder)
    done = await at.run(f"[ ! -e {folder} ] || cat {folder}/{RECORD}", timeout_s=LOOK_S)
    if done.code == 0 and not done.stdout:
        return None
    try:
        if done.code != 0:
            raise ValueError(done.complaint)
        return MachineRecord.from_json(done.stdout)
    except (ValueError, TypeError) as error:
        raise HostError(
            f"{host.folder} on {host.address} holds no readable {RECORD}: {error}.",
            hint="Look into it, and remove it by hand if it is not needed.",
        ) from error


async def take(at: SshTransport, host: SshHost, lease_id: str, record: MachineRecord) -> bool:
    """Lease the host, on its disk when this returns; False when somebody else has it. Raises HostError."""
    root, folder, draft = (shlex.quote(path) for path in (host.root, host.folder, f"{host.root}/.{lease_id}.new"))
    script = (
        f"umask 022; [ -d {root} ] || {{ mkdir -p {root} && chmod {OPEN_TO_ALL} {root}; }} || exit 1; "
        f"rm -rf {draft}; mkdir {draft} && cat >{draft}/{RECORD} && sync || exit 1; "
        f"mv -T {draft} {folder} && sync && exit; "
        f"rm -rf {draft}; [ ! -e {folder}/{RECORD} ] || exit {TAKEN}; exit 1"
    )
    done = await at.run(script, timeout_s=LOOK_S, stdin=json.dumps(asdict(record), indent=1).encode())
    if done.code not in (0, TAKEN):
        raise HostError(f"{host.address} can't be leased below {host.root}: {done.complaint or f'code {done.code}'}.")
    return done.code == 0
