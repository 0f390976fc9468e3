"""How an instance is prepared from outside: run a command, put a file, get a file.

Paths are relative to the instance's folder, with forward slashes, and stay inside it; commands start with that folder
as their working directory, in an environment that holds nothing of the operator's credentials. A command that outlives
its time, or whose caller is cancelled, is killed with everything it started in its process group.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from planner.errors import HostError

OUTPUT_LIMIT = 1 << 20
"""Bytes of each output stream that are kept; the rest is read and dropped."""
FILE_LIMIT = 64 << 20
"""Bytes that `get` reads at most; a larger file is an error."""


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended. A negative code is the signal that ended it."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def complaint(self) -> str:
        """The end of what it said, for an error message."""
        return (self.stderr.strip() or self.stdout.strip()).decode(errors="replace")[-500:]


class Transport(Protocol):
    async def run(self, command: str, *, timeout_s: float, stdin: bytes = b"") -> Completed:
        """Run a POSIX shell command line. Raises HostError when it can't be started or does not end in time."""

    async def put(self, path: str, data: bytes, mode: int) -> None:
        """Make the file hold exactly `data`, all at once, making folders above it as needed. Raises HostError."""

    async def send(self, source: Path, path: str) -> None:
        """Send a file or a folder from here. Sent again after a loss, it goes on where it ended. Raises HostError."""

    async def get(self, path: str) -> bytes:
        """The file's bytes. Raises HostError when it is absent or larger than FILE_LIMIT."""


def inside(path: str) -> PurePosixPath:
    """`path`, checked to stay inside the instance's folder."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or not parts.parts or ".." in parts.parts:
        raise HostError(f"The path {path!r} leaves the instance's folder; expected one relative to it.")
    return parts
