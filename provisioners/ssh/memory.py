"""On which host each lease was asked for, remembered here, so that no lease is lost with a line of the spec."""

import json
from contextlib import suppress
from pathlib import Path

from planner.errors import SpecError
from provisioners.local.files import write_whole
from provisioners.ssh.host import Place, SshHost


class HostMemory:
    """Files below `folder`, one a lease, written before its host is asked and removed once it is released."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def remember(self, lease_id: str, host: SshHost) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self._path(lease_id), json.dumps(host.to_json(), indent=1).encode(), 0o600)

    def forget(self, lease_id: str) -> None:
        with suppress(FileNotFoundError):
            self._path(lease_id).unlink()

    def host(self, lease_id: str) -> SshHost | None:
        """Where that lease was asked for. Raises SpecError."""
        path = self._path(lease_id)
        return _read(path) if path.exists() else None

    def hosts(self) -> dict[Place, SshHost]:
        """Every host that a lease was asked of. Raises SpecError: a host that is not looked at could hold one."""
        found = (_read(path) for path in sorted(self._folder.glob("*.json")))
        return {host.place: host for host in found if host is not None}

    def _path(self, lease_id: str) -> Path:
        return self._folder / f"{lease_id}.json"


def _read(path: Path) -> SshHost | None:
    try:
        return SshHost.from_json(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, SpecError) as error:
        raise SpecError(
            f"{path} can't be read: {error!r}. It says where a lease is.",
            hint="Remove it if that host is known to be free.",
        ) from error
