"""Words that must not be printed, and files that only their owner may read."""

from dataclasses import dataclass
from pathlib import Path

from provisioners.local.files import write_whole

HIDDEN = "•••"


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """Text that prints as `•••` wherever it is formatted, logged or put in an error; `reveal` where it is used."""

    _text: str

    def reveal(self) -> str:
        return self._text

    def __str__(self) -> str:
        return HIDDEN

    def __repr__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __bool__(self) -> bool:
        return bool(self._text)


def write_private(path: Path, data: bytes | str) -> None:
    """Write a file of mode 0600, all at once; the folder is made (0700) if it is missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, data.encode() if isinstance(data, str) else data, 0o600)
