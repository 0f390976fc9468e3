"""The relay's part of an agent's HTTP: tickets are acknowledged and dropped. Tiles go over streams (`pulls.py`).

The app that these routes are added to has checked the caller's certificate; here the ticket's capability is asked for.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from planner.errors import KvTransferError
from runtime.relay.exchange import STATUS_OF_ERROR
from runtime.relay.relay import Relay
from runtime.relay.tickets import UnknownTicket

Handler = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


def add_relay_routes(app: web.Application, relay: Relay) -> None:
    """Mount `/kv/ack` and `/kv/drop`."""

    async def acknowledge(_request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return _done(relay.acknowledge, body)

    async def drop(_request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return _done(relay.drop, body)

    app.router.add_post("/kv/ack", _answering(acknowledge))
    app.router.add_post("/kv/drop", _answering(drop))


def _answering(handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Read the body, and turn what goes wrong before the first byte into a status."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
            if not isinstance(body, dict):
                raise TypeError(f"a JSON object was expected, not {type(body).__name__}")
            return await handler(request, body)
        except (KeyError, TypeError, ValueError) as error:
            return _error(400, f"The request can't be read: {error!r}.")
        except KvTransferError as error:
            return _error(STATUS_OF_ERROR.get(type(error), 400), error.message)

    return answer


def _done(act: Callable[[str, str], None], body: dict[str, Any]) -> web.Response:
    """Acknowledging or dropping what is gone already is a success."""
    try:
        act(_text(body, "ticket"), _text(body, "capability"))
    except UnknownTicket:
        return web.json_response({"known": False})
    return web.json_response({"known": True})


def _text(body: dict[str, Any], key: str) -> str:
    value = body[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a text")
    return value


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)
