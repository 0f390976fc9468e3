"""Digests by which an instance's files are compared with the wanted ones; `templates/probe.sh` counts alike."""

import asyncio
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def contents_digest(files: Mapping[str, bytes | Path]) -> str:
    """Over names and contents; empty where there is no file. A Path stands for what that file here holds."""
    return digest(_lines(files)) if files else ""


def sizes_digest(files: Mapping[str, Path]) -> str:
    """Over names and sizes only: weights are large."""
    return digest(b"".join(sorted(f"{name} {path.stat().st_size}\n".encode() for name, path in files.items())))


async def digest_lines(files: Mapping[str, Path]) -> bytes:
    """What `sha256sum -c` reads. Of weights it takes a while, so it is done beside the event loop."""
    return await asyncio.to_thread(_lines, files)


def files_below(folder: Path) -> dict[str, Path]:
    """Name below the folder → file, links followed. What is hidden, as git's own folder is, is of use to no engine."""
    found = {path.relative_to(folder): path for path in sorted(folder.rglob("*"))}
    return {
        name.as_posix(): path
        for name, path in found.items()
        if not any(part.startswith(".") for part in name.parts) and path.is_file()
    }


def _lines(files: Mapping[str, bytes | Path]) -> bytes:
    """As sha256sum writes them, in the order of the names' bytes."""
    return b"".join(f"{_digest_of(files[name])}  ./{name}\n".encode() for name in sorted(files, key=str.encode))


def _digest_of(data: bytes | Path) -> str:
    if isinstance(data, bytes):
        return digest(data)
    found = data.stat()
    return _file_digest(data, found.st_size, found.st_mtime_ns)


@cache
def _file_digest(path: Path, _size: int, _changed_ns: int) -> str:
    """Once for a file as it is: many hosts may be asked about it, and each many times."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
