"""The bodies of requests: awaited within limits, and no more of them at a time than memory is meant for."""

from collections.abc import Iterator
from contextlib import contextmanager

from runtime.router import web
from runtime.router.access.admission import SHORTEST_RETRY_S, Shed
from runtime.router.settings import RouterSettings
from runtime.router.surface.errors import error_response


async def await_body(request: web.Request, settings: RouterSettings) -> web.Response | None:
    """Wait for a body, which the request keeps; the refusal of one that is too large, too slow or broken."""
    try:
        await request.wait(settings.body_s)
    except web.BodyTooLarge:
        return error_response(413, f"The body is larger than {settings.max_body_bytes} bytes.")
    except web.BodyUnreadable:
        return error_response(400, "The body can't be read: its chunks are malformed.")
    except TimeoutError:
        return error_response(408, f"The body did not come within {settings.body_s:g} s.")
    return None


VALUE_BYTES = 64
"""What a value of JSON takes about, beside its text."""
BEFORE_VALUES = (b",", b":", b"[", b"{")


def held_by(data: bytes | bytearray) -> int:
    """What bytes of a body take in memory, about: as they are, and once more when they are parsed."""
    return 2 * len(data) + VALUE_BYTES * sum(map(data.count, BEFORE_VALUES))


class BodyRoom:
    """Room for the bodies of all requests under way, parsed ones too, in bytes of memory (`held_by`).

    It is counted as they come: who only says so takes none.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0

    @contextmanager
    def held(self, request: web.Request) -> Iterator["BodyPart"]:
        """A request's part of it, until it is answered."""
        part = BodyPart(self, request)
        request.on_data = part.came
        part.came(request.unread)
        try:
            yield part
        finally:
            request.on_data = None
            self.held_bytes -= part.held_bytes


class BodyPart:
    """What one request holds. Where there is no room for more of its body, that is broken off."""

    def __init__(self, room: BodyRoom, request: web.Request) -> None:
        self.held_bytes = 0
        self._is_refused = False
        self._room = room
        self._request = request

    def came(self, data: bytes | bytearray) -> None:
        size_bytes = held_by(data)
        self.held_bytes += size_bytes
        self._room.held_bytes += size_bytes
        if self._room.held_bytes > self._room.limit_bytes:
            self._is_refused = True
            self._request.break_off()

    def check(self) -> None:
        """Raises Shed where it was broken off."""
        if self._is_refused:
            raise Shed("Requests under way hold all the memory there is for bodies", SHORTEST_RETRY_S)
