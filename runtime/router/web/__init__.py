"""HTTP/1.1 towards clients, no more of it than the router needs, in the words of `aiohttp.web`.

aiohttp's server takes 70 µs of CPU more for a request, on the machine where the bare way through both legs takes 270:
docs/decisions/0009.
"""

from runtime.router.web.dispatch import Dispatch
from runtime.router.web.request import BodyTooLarge, BodyUnreadable, Request, RequestKey
from runtime.router.web.response import Response, StreamResponse, json_response
from runtime.router.web.server import Handler, Server

__all__ = [
    "BodyTooLarge",
    "BodyUnreadable",
    "Dispatch",
    "Handler",
    "Request",
    "RequestKey",
    "Response",
    "Server",
    "StreamResponse",
    "json_response",
]
