"""Which handler answers what is asked at a path."""

from collections.abc import Iterable

from runtime.router.web.request import Request
from runtime.router.web.server import Handler

ANY = "*"


class Dispatch:
    """Handlers by method (`*`: any) and path; one that ends in a slash stands for all below it. GET answers HEAD."""

    def __init__(self, routes: Iterable[tuple[str, str, Handler]], otherwise: Handler) -> None:
        self._exact: dict[tuple[str, str], Handler] = {}
        self._below: list[tuple[str, str, Handler]] = []
        self._otherwise = otherwise
        for method, path, handler in routes:
            if path.endswith("/"):
                self._below.append((method, path, handler))
            else:
                self._exact[method, path] = handler

    def handler(self, request: Request) -> Handler:
        """Who answers; where nobody is found, who says so."""
        method = "GET" if request.method == "HEAD" else request.method
        found = self._exact.get((method, request.path)) or self._exact.get((ANY, request.path))
        return found or self._of_those_above(method, request.path) or self._otherwise

    def _of_those_above(self, method: str, path: str) -> Handler | None:
        for taken, prefix, handler in self._below:
            if path.startswith(prefix) and path != prefix and taken in (method, ANY):
                return handler
        return None
