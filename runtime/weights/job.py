"""What is to be fetched, as the control plane writes it and the instance reads it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Self

from planner.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

SHA256, GIT = "sha256", "git"
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file of a model. `digest` is `sha256:…`, or `git:…` for what a git repository holds as it is (SHA-1)."""

    name: str
    size: int
    digest: str

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.name).parts
        if not parts or self.name.startswith("/") or ".." in parts or "\n" in self.name or "\\" in self.name:
            raise SpecError(f"A file of the model is called {self.name!r}; expected a path below the model's folder.")
        if self.digest.partition(":")[0] not in (SHA256, GIT):
            raise SpecError(f"{self.name} has the digest {self.digest!r}; expected {SHA256}:… or {GIT}:….")

    def problem(self, path: Path) -> str:
        """Why the file at `path` is not this one; empty where it is."""
        kind, _, expected = self.digest.partition(":")
        found = (
            hashlib.sha256() if kind == SHA256 else hashlib.sha1(f"blob {self.size}\0".encode(), usedforsecurity=False)
        )
        with path.open("rb") as file:
            while data := file.read(READ_BYTES):
                found.update(data)
        same = found.hexdigest() == expected
        return "" if same else f"{self.name} has the {kind} digest {found.hexdigest()[:16]}…; expected {expected[:16]}…"


@dataclass(frozen=True, slots=True)
class Job:
    """Files with the address of each. `authorization` is sent to their origins and nowhere that they lead on to."""

    files: tuple[tuple[WeightFile, str], ...]
    authorization: str = ""

    @property
    def size(self) -> int:
        return sum(file.size for file, _ in self.files)

    def to_bytes(self) -> bytes:
        files = [asdict(file) | {"url": url} for file, url in self.files]
        return json.dumps({"files": files, "authorization": self.authorization}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises SpecError."""
        try:
            document: Mapping[str, Any] = json.loads(data)
            rows = [dict(row) for row in document["files"]]
            pairs = tuple((url, WeightFile(**row)) for row in rows for url in [str(row.pop("url"))])
            return cls(tuple((file, url) for url, file in pairs), str(document["authorization"]))
        except (ValueError, TypeError, KeyError) as error:
            raise SpecError(f"What to fetch can't be read: {error!r}.") from error
