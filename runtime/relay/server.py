"""The relay's part of an agent's HTTP: the router drops tickets. All that agents ask each other goes over streams.

The app that this route is added to has checked the caller's certificate; here the ticket's capability is asked for.
"""

from aiohttp import web

from planner.errors import KvTransferError
from runtime.relay.exchange import STATUS_OF_ERROR
from runtime.relay.relay import Relay
from runtime.relay.ticket import UnknownTicket


def add_relay_routes(app: web.Application, relay: Relay) -> None:
    """Mount `/kv/drop`."""

    async def drop(request: web.Request) -> web.Response:
        """Of a ticket object. Dropping what is gone already is a success."""
        try:
            body = await request.json()
            relay.drop(_text(body["ticket"]), _text(body["capability"]))
        except UnknownTicket:
            return web.json_response({"known": False})
        except (KeyError, TypeError, ValueError) as error:
            return _error(400, f"The request can't be read: {error!r}.")
        except KvTransferError as error:
            return _error(STATUS_OF_ERROR.get(type(error), 400), error.message)
        return web.json_response({"known": True})

    app.router.add_post("/kv/drop", drop)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is not a text")
    return value


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)
