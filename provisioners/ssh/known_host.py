"""The host keys that were seen first, and must be seen ever after."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from planner.errors import HostError


@dataclass(frozen=True, slots=True)
class KnownHost:
    """The key of one host, in `file` (0600) under `name`: taken on trust at the first contact, an error if it changes.

    `name` is an address for a machine that stays, and the lease for one that is rented: addresses are used again.
    """

    file: Path
    name: str

    def __post_init__(self) -> None:
        if not self.name or any(character.isspace() for character in self.name):
            raise ValueError(f"A host can't be known as {self.name!r}; expected a name without spaces.")

    @property
    def pinned(self) -> str:
        """The key as `type base64`, empty before the first contact. Raises HostError where that can't be known."""
        try:
            lines = self.file.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise self._unusable(error) from error
        return next((key for name, _, key in (line.partition(" ") for line in lines) if name == self.name), "")

    def check(self, key: str) -> None:
        """Pin `key` if none is. Raises HostError if another one is, or it can't be written down."""
        try:
            self._check(key)
        except OSError as error:
            raise self._unusable(error) from error

    def _check(self, key: str) -> None:
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.file, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "a"):
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # of two first contacts at once, one pins and one compares
            if not (pinned := self.pinned):
                _append(descriptor, f"{self.name} {key}\n".encode())
            elif pinned != key:
                raise HostError(
                    f"The host key of {self.name} has changed: it shows {_short(key)}, and {_short(pinned)} was "
                    "pinned. Either the host was set up anew, or somebody stands between.",
                    hint=f"If it was set up anew, remove the line of {self.name} from {self.file}.",
                )

    def _unusable(self, error: OSError) -> HostError:
        return HostError(
            f"The host keys that are known can't be read or written: {error.strerror} ({self.file}).",
            hint="Without them nobody can tell whether a host is the right one. Is the file somebody else's?",
        )


def _append(descriptor: int, line: bytes) -> None:
    """On the disk when this returns, on a line of its own; not at all where the disk is full: a key cut short would
    be that of another host ever after."""
    size = os.fstat(descriptor).st_size
    is_cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    left = b"\n" + line if is_cut else line
    try:
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def _short(key: str) -> str:
    kind, _, body = key.partition(" ")
    return f"{kind} ...{body[-12:]}"
