"""The folders that are the local provider's machines, one a lease, named after it.

A machine appears at once: its folder is filled under a hidden name and renamed, so there is never one without its
label. It disappears at once too: what it held goes first, then the folder is renamed away with its `machine.json`.
Anything else that lies here is somebody else's, and stays.
"""

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Self

from planner.errors import ProvisioningError
from provisioners.base import Label
from provisioners.local.files import sync_folder, write_whole

RECORD = "machine.json"


@dataclass(frozen=True, slots=True)
class MachineRecord:
    """What is written on a machine: its label, and what it was leased for. Seconds since the epoch."""

    label: str
    offer_id: str
    usd_per_hour: float
    created_at: float

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Raises ValueError or TypeError: on a host that others use as well, anybody may have written it."""
        record = cls(**json.loads(text))
        words, numbers = (record.label, record.offer_id), (record.usd_per_hour, record.created_at)
        if not all(isinstance(word, str) for word in words) or not all(_is_amount(number) for number in numbers):
            raise ValueError(f"it says {record}")
        return record


@contextmanager
def market(root: Path) -> Iterator[None]:
    """Hold the host's market: of two processes that want the last slot, one gets it. The lock dies with its holder."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(root / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def create_machine(root: Path, lease_id: str, record: MachineRecord) -> None:
    """Make the folder with its record in it, on the disk. Call it within `market`."""
    draft = root / f".{lease_id}.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    write_whole(draft / RECORD, json.dumps(asdict(record), indent=1).encode(), 0o600)
    draft.rename(root / lease_id)
    sync_folder(root)


def machine_folders(root: Path) -> tuple[Path, ...]:
    """Every folder that is named as a machine, oldest lease first."""
    if not root.is_dir():
        return ()
    return tuple(sorted(path for path in root.iterdir() if _is_machine_name(path.name) and _is_folder(path)))


def read_record(folder: Path) -> MachineRecord | None:
    """What is written on a machine; None where nothing readable is, or it names another lease: then it isn't ours."""
    if not _is_folder(folder):
        return None
    try:
        record = MachineRecord.from_json((folder / RECORD).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None
    label = Label.parse(record.label)
    return record if label is not None and label.lease_id == folder.name else None


def machine_folder(root: Path, provider_id: str) -> Path:
    """Where the machine of that id lies, whether it exists or not. An id that is no lease's is a ValueError."""
    if not _is_machine_name(provider_id):
        raise ValueError(f"{provider_id!r} is no machine of the local provider; expected a lease's UUID.")
    return root / provider_id


def remove_machine(root: Path, lease_id: str) -> None:
    """Remove the folder and what is left of an earlier, interrupted removal. Its processes must have ended."""
    folder, leaving = root / lease_id, root / f".{lease_id}.gone"
    try:
        if leaving.is_dir():
            shutil.rmtree(leaving)
        if _is_folder(folder):
            for path in folder.iterdir():
                if path.name != RECORD:
                    _remove(path)
            folder.rename(leaving)
            sync_folder(root)
            shutil.rmtree(leaving)
    except OSError as error:
        raise ProvisioningError(
            f"The folder {folder} can't be removed: {error.strerror} ({error.filename})."
        ) from error


def _remove(path: Path) -> None:
    if _is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink()


def _is_folder(path: Path) -> bool:
    """A link to a folder is not one: what it leads to is not ours."""
    return path.is_dir() and not path.is_symlink()


def _is_amount(number: object) -> bool:
    return isinstance(number, int | float) and 0 <= number < inf


def _is_machine_name(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False
