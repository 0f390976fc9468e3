"""One file over HTTP: gone on with where it broke off, under its name only once its digest is right."""

import errno
import http.client
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO
from urllib.parse import urlsplit

from planner.errors import HostError
from runtime.weights.job import WeightFile
from runtime.weights.progress import Progress

CHUNK_BYTES = 1 << 20
SILENT_S = 30.0
"""A server that says nothing for so long is asked again."""
TRIES = 6
"""In a row, none of which brought a byte."""
FIRST_PAUSE_S = 1.0
FULL = 200
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
AUTHORIZATION = "Authorization"
NOT_AS_LISTED = "what its address serves is not what was listed"


class _WithinOrigin(urllib.request.HTTPRedirectHandler):
    """A hub leads from one of its own addresses to another, and asks there too who wants the file."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        led = super().redirect_request(req, fp, code, msg, headers, newurl)
        if led is not None and _origin(led.full_url) == _origin(req.full_url):
            for name, value in req.unredirected_hdrs.items():
                if name == AUTHORIZATION:
                    led.add_unredirected_header(name, value)
        return led


_OPENER = urllib.request.build_opener(_WithinOrigin)


class Fetch:
    """Fetches files into `folder`. `stop` ends it between two pieces, and the pause between two tries.

    `pause` waits for so many seconds in place of that.
    """

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        *,
        authorization: str = "",
        stop: threading.Event | None = None,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._folder = folder
        self._progress = progress
        self._authorization = authorization
        self._stop = stop or threading.Event()
        self._pause = pause or self._stop.wait

    def file(self, file: WeightFile, url: str) -> None:
        """Have the file, whole and compared. Raises HostError."""
        target = self._folder / file.name
        if target.is_file():
            self._progress.add(file.size)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        self._progress.add(_size(part))
        problem = self._problem(file, url, part) and self._problem(file, url, part)
        if problem:
            raise HostError(f"{problem}: {NOT_AS_LISTED}.")
        part.rename(target)

    def _problem(self, file: WeightFile, url: str, part: Path) -> str:
        """Fetch what is missing; what is wrong with the whole, which is then thrown away."""
        self._rest(file, url, part)
        if problem := file.problem(part):
            self._forget(part)
        return problem

    def _rest(self, file: WeightFile, url: str, part: Path) -> None:
        """Until all bytes are there. Tries are counted from the last that brought any."""
        tries = 0
        while (begun := _size(part)) != file.size or not part.exists():
            try:
                self._piece(file, url, part)
            except (OSError, http.client.HTTPException) as error:
                _raise_final(file, error)
                tries = 1 if _size(part) > begun else tries + 1
                if tries >= TRIES:
                    raise HostError(f"{file.name} broke off {tries} times in a row: {_words(error)}.") from error
                self._pause(FIRST_PAUSE_S * 2.0 ** (tries - 1))

    def _piece(self, file: WeightFile, url: str, part: Path) -> None:
        """Ask for what is missing, and write down as much of it as comes. Raises OSError, HTTPException, HostError."""
        begun = _size(part)
        if begun > file.size:
            self._forget(part)
            begun = 0
        request = urllib.request.Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})
        if self._authorization:
            request.add_unredirected_header(AUTHORIZATION, self._authorization)
        with _OPENER.open(request, timeout=SILENT_S) as answer, part.open("ab") as output:
            if answer.status == FULL and begun:  # it takes no ranges
                output.truncate(0)
                self._progress.add(-begun)
                begun = 0
            self._copy(file, answer, output, file.size - begun)
        if _size(part) < file.size:
            raise ConnectionError(f"{_size(part)} of {file.size} bytes came")

    def _copy(self, file: WeightFile, answer: BinaryIO, output: BinaryIO, left: int) -> None:
        """`left` bytes of it are missing. Raises HostError where more of them come: they would come for ever."""
        while data := answer.read(CHUNK_BYTES):
            if self._stop.is_set():
                raise HostError(f"Fetching {file.name} was stopped.")
            if (left := left - len(data)) < 0:
                raise HostError(f"{file.name} has more than {file.size} bytes: {NOT_AS_LISTED}.")
            output.write(data)
            self._progress.add(len(data))

    def _forget(self, part: Path) -> None:
        self._progress.add(-_size(part))
        part.unlink(missing_ok=True)


def _raise_final(file: WeightFile, error: Exception) -> None:
    """Raise HostError where asking again brings nothing."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if error.code not in TRY_AGAIN:
            raise HostError(f"{file.name} can't be fetched: {_words(error)}.") from error
    elif isinstance(error, OSError) and error.errno is not None and not _is_of_the_line(error):
        raise HostError(f"{file.name} can't be written: {error.strerror}.") from error


def _is_of_the_line(error: OSError) -> bool:
    """Whether the way to the server broke, in TLS too: what else fails is the disk."""
    return isinstance(error, _LOST) or error.errno in NO_WAY


_LOST = (ConnectionError, TimeoutError, ssl.SSLError, urllib.error.URLError)
NO_WAY = frozenset({errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH})
"""What a kernel says of a connection whose way is gone, beside those that Python has a class for."""


def _words(error: Exception) -> str:
    """What happened, without the address: it may be signed."""
    if isinstance(error, urllib.error.HTTPError):
        refused = "; it expired, or the model has to be asked for (gated)" if error.code in (401, 403) else ""
        return f"HTTP {error.code} {error.reason}{refused}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
