"""An HTTP server on loopback that shows a folder with ranges, and fails as it is told to."""

import http.server
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit


@dataclass(slots=True)
class FileServer:
    """`statuses` are answered in place of files; `cut_after` are bytes after which longer answers break off, one each.

    `asked` are what was asked for: method, path, Range, Authorization. `redirected` maps paths to addresses. With
    `endless` a file's bytes come again and again, and no length is said.
    """

    folder: Path
    url: str = ""
    ranges: bool = True
    cut_after: deque[int] = field(default_factory=deque)
    statuses: deque[int] = field(default_factory=deque)
    documents: dict[str, bytes] = field(default_factory=dict)
    redirected: dict[str, str] = field(default_factory=dict)
    wanted_authorization: str = ""
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)
    gate: threading.Event | None = None
    endless: bool = False

    def ranges_of(self, name: str) -> list[str]:
        return [span for method, path, span, _ in self.asked if method == "GET" and path.endswith(name)]


@contextmanager
def file_server(folder: Path, **how: Any) -> Iterator[FileServer]:
    server = FileServer(folder, **how)

    class Handler(_Handler):
        shows = server

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        server.url = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            if server.gate:
                server.gate.set()
            listening.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    shows: ClassVar[FileServer]

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        span, authorization = self.headers.get("Range", ""), self.headers.get("Authorization", "")
        self.shows.asked.append((self.command, path, span, authorization))
        if self.shows.gate and not path.endswith(".json"):
            self.shows.gate.wait(30)
        if self.shows.statuses and body:
            self._plain(self.shows.statuses.popleft())
        elif self.shows.wanted_authorization not in ("", authorization):
            self._plain(401)
        elif address := self.shows.redirected.get(path):
            self._plain(302, Location=address)
        elif (data := self._data(path)) is None:
            self._plain(404)
        else:
            self._file(data, span, body=body)

    def _data(self, path: str) -> bytes | None:
        file = self.shows.folder / path.lstrip("/")
        return self.shows.documents.get(path, file.read_bytes() if file.is_file() else None)

    def _file(self, data: bytes, span: str, *, body: bool) -> None:
        begin = int(span.removeprefix("bytes=").rstrip("-")) if span and self.shows.ranges else 0
        if begin >= len(data) and begin:
            self._plain(416)
            return
        self.send_response(206 if begin else 200)
        if self.shows.endless:
            self._for_ever(data[begin:])
            return
        self.send_header("Content-Length", str(len(data) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if body:
            cuts = self.shows.cut_after
            cut = cuts.popleft() if cuts and cuts[0] < len(data) - begin else len(data)
            with suppress(OSError):
                self.wfile.write(data[begin:][:cut])

    def _for_ever(self, data: bytes) -> None:
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(data)

    def _plain(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass
