"""What a source holds: its files with sizes and digests, found out once a deployment and remembered.

So all its hosts, those that come later too, get the same files, whatever a branch points to by then.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from planner.errors import SpecError
from provisioners.hosts.digests import digest
from provisioners.hosts.wanted import KEY_CHARACTERS
from runtime.weights.job import SHA256, WeightFile

MANIFEST = "SHA256SUMS"
SHA256_CHARACTERS = 64
TABLES, PICKLES = (".safetensors",), (".bin", ".pt")
BESIDE = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".py")
CONSOLIDATED = "consolidated"


@dataclass(frozen=True, slots=True)
class Listing:
    """`origin` says where from and at which revision; `restricted` that its server asks who wants them (gated).

    `region` is that of an S3 bucket; empty where nobody said.
    """

    origin: str
    files: tuple[WeightFile, ...]
    revision: str = ""
    restricted: bool = False
    region: str = ""

    @property
    def key(self) -> str:
        """Names the folder of just these files on a host."""
        lines = sorted(f"{file.digest} {file.name}\n" for file in self.files)
        return digest("".join(lines).encode())[:KEY_CHARACTERS]

    @property
    def size_gb(self) -> float:
        return sum(file.size for file in self.files) / 1e9

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        files = tuple(WeightFile(**file) for file in document["files"])
        region = str(document.get("region", ""))  # not in those written before it was asked for
        return cls(str(document["origin"]), files, str(document["revision"]), bool(document["restricted"]), region)


def remembered(path: Path, origin: str) -> Listing | None:
    """What was found out of that origin before; None where nothing was, or of another."""
    try:
        listing = Listing.from_json(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return listing if listing.origin == origin else None


def engine_files(files: tuple[WeightFile, ...]) -> tuple[WeightFile, ...]:
    """Those that an engine reads."""
    names = engine_names(file.name for file in files)
    return tuple(sorted((file for file in files if file.name in names), key=lambda file: file.name))


def engine_names(names: Iterable[str]) -> frozenset[str]:
    """Those that an engine reads: tables of weights in one form only, and what lies beside them in the same folder."""
    top = [name for name in names if "/" not in name]
    tables = [name for name in top if name.endswith(TABLES)]
    if sharded := [name for name in tables if not name.startswith(CONSOLIDATED)]:
        tables = sharded
    tables = tables or [name for name in top if name.endswith(PICKLES)]
    return frozenset([*tables, *(name for name in top if name.endswith(BESIDE))])


def checked(listing: Listing) -> Listing:
    """The listing, if there is a model in it. Raises SpecError."""
    names = {file.name for file in listing.files}
    if "config.json" not in names or not any(name.endswith((*TABLES, *PICKLES)) for name in names):
        raise SpecError(
            f"{listing.origin} holds {', '.join(sorted(names)) or 'no file'}; expected config.json and weights "
            f"({', '.join((*TABLES, *PICKLES))})."
        )
    return listing


def sums_of(manifest: str, origin: str) -> dict[str, str]:
    """Name → digest, from what `sha256sum * >SHA256SUMS` writes. Raises SpecError."""
    found = {}
    for line in filter(str.strip, manifest.splitlines()):
        value, _, name = line.partition(" ")
        if len(value) != SHA256_CHARACTERS or not name.strip():
            raise SpecError(f"{MANIFEST} of {origin} has the line {line[:80]!r}; expected a SHA-256 and a file's name.")
        found[name.strip().removeprefix("*").removeprefix("./")] = f"{SHA256}:{value.lower()}"
    found.pop(MANIFEST, None)
    return found
