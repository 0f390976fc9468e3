"""Whether a SQLite store's file is still the one that was opened: who has it open goes on with the old one for ever."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from thunderctl.store.address import Address

Look = tuple[int, int, int, int]
"""A file's device, inode, size and time of change: one that is being copied is another one at the next look."""


@dataclass(slots=True)
class OpenedFile:
    """The file that a store was opened with. A server's database, or one in memory, has none."""

    path: Path | None
    _opened: Look | None = field(init=False)
    _other: Look | None = None

    def __post_init__(self) -> None:
        self._opened = _look(self.path)

    @classmethod
    def of(cls, address: Address) -> Self:
        named = "" if address.is_postgres else address.url.database or ""
        return cls(Path(named) if named not in ("", ":memory:") else None)

    def is_swapped(self) -> bool:
        """Whether another file lies in its place, and looks as it did at the last look.

        Where none lies there now, what is open is all that there is, and is gone on with.
        """
        now = _look(self.path)
        if now is None or self._opened is None or now[:2] == self._opened[:2]:
            self._other = None
            return False
        settled, self._other = now == self._other, now
        return settled


def _look(path: Path | None) -> Look | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) if found else None
