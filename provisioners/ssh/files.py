"""Files over SFTP: sent whole or not at all, under their name only once they are complete. All calls block."""

import errno
import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from planner.errors import HostError
from provisioners.ssh.client import Sftp
from provisioners.transport import FILE_LIMIT

CHUNK = 1 << 15
LOOK_EVERY = 32
"""Chunks between two looks at whether the caller is still there."""


def send_bytes(sftp: Sftp, path: PurePosixPath, data: bytes, mode: int, stop: threading.Event) -> None:
    """Make the file hold exactly `data`."""
    send_stream(sftp, path, io.BytesIO(data), mode, stop)


def send_tree(sftp: Sftp, source: Path, path: PurePosixPath, stop: threading.Event) -> None:
    """Send a file, or a folder with all below it, with the modes that they have. Links are followed."""
    for file in _files_of(source):
        target = path / file.relative_to(source).as_posix() if source.is_dir() else path
        with file.open("rb") as stream:
            send_stream(sftp, target, stream, file.stat().st_mode & 0o777, stop)


def send_stream(sftp: Sftp, path: PurePosixPath, source: io.BufferedIOBase, mode: int, stop: threading.Event) -> None:
    """Send all of `source`, going on where an earlier try for the same content ended, and rename it into place.

    The bytes are never readable by more than `mode` allows. Raises OSError as the server says it, or
    when the file is not as long there as here: without room, a write that is not waited for fails unheard.
    """
    make_folders(sftp, path.parent)
    part = path.with_name(f".{path.name}.{hashlib.file_digest(source, 'sha256').hexdigest()[:16]}.part")
    size = source.seek(0, io.SEEK_END)
    begun = _size(sftp, part)
    if not 0 <= begun <= size:
        begun = 0
        with sftp.open(str(part), "w") as file:
            file.chmod(mode & 0o700 | 0o200)
    with sftp.open(str(part), "r+") as file:
        file.set_pipelined(True)
        file.seek(begun)
        source.seek(begun)
        for number, chunk in enumerate(iter(lambda: source.read(CHUNK), b"")):
            if number % LOOK_EVERY == 0 and stop.is_set():
                raise HostError(f"Sending {path} was stopped.")
            file.write(chunk)
    if (arrived := _size(sftp, part)) != size:
        raise OSError(errno.EIO, f"{arrived} of {size} bytes arrived")
    sftp.chmod(str(part), mode)
    sftp.posix_rename(str(part), str(path))


def read_file(sftp: Sftp, path: PurePosixPath) -> bytes:
    """The file's bytes. Raises HostError for one larger than FILE_LIMIT, and OSError as the server says it."""
    data = bytearray()
    with sftp.open(str(path), "rb") as file:
        size = file.stat().st_size or 0
        if size <= FILE_LIMIT:
            file.prefetch(size)
            while len(data) <= FILE_LIMIT and (chunk := file.read(CHUNK)):  # one read of all takes paramiko minutes
                data += chunk
            size = len(data)
    if size > FILE_LIMIT:
        raise HostError(f"{path} is larger than {FILE_LIMIT >> 20} MiB; expected a small file.")
    return bytes(data)


def make_folders(sftp: Sftp, folder: PurePosixPath) -> None:
    """Make the folder (0700) and those above it that are missing."""
    if _size(sftp, folder) >= 0:
        return
    make_folders(sftp, folder.parent)
    with suppress(OSError):  # somebody else made it meanwhile, or the first use of it says what is wrong
        sftp.mkdir(str(folder), 0o700)


def _size(sftp: Sftp, path: PurePosixPath) -> int:
    """In bytes; -1 where there is nothing."""
    try:
        return int(sftp.stat(str(path)).st_size or 0)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return -1
        raise


def _files_of(source: Path) -> Iterator[Path]:
    return iter([source]) if source.is_file() else (path for path in sorted(source.rglob("*")) if path.is_file())
