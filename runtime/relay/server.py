"""The relay's part of an agent's port: other agents pull tiles, acknowledge and drop tickets.

The app that these routes are added to has checked the caller's certificate; here the ticket's capability is asked for.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from planner.errors import KvTransferError
from runtime.relay.client import CHUNK_BYTES, ERROR_OF_STATUS
from runtime.relay.relay import Relay
from runtime.relay.tickets import UnknownTicket
from runtime.tiles import Box, Layout

LIMIT_BOXES = 8192
LIMIT_WAIT_S = 60.0
_STATUS_OF_ERROR = {kind: status for status, kind in ERROR_OF_STATUS.items()}

Handler = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


def add_relay_routes(app: web.Application, relay: Relay) -> None:
    """Mount `/kv/pull`, `/kv/ack` and `/kv/drop`."""

    async def pull(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        boxes = [Box.from_row(row) for row in _rows(body)]
        wait_s = max(0.0, min(float(body.get("wait_s", LIMIT_WAIT_S)), LIMIT_WAIT_S))
        async with relay.reading(_text(body, "ticket"), _text(body, "capability"), wait_s) as (ticket, data):
            whole = Layout(ticket.format, ticket.format.whole)
            size = sum(Layout(ticket.format, box).size for box in boxes)
            if size > whole.size:
                raise KvTransferError(f"{size} bytes of tiles were asked for; the ticket has {whole.size}.")
            response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
            response.content_length = size
            try:
                await response.prepare(request)
                for box in boxes:
                    for offset, length in whole.runs(box):
                        for at in range(offset, offset + length, CHUNK_BYTES):
                            await response.write(data[at : min(at + CHUNK_BYTES, offset + length)])
                await response.write_eof()
                relay.counts[f"sent_bytes_{ticket.format.codec}"] += size
            except ConnectionResetError:
                relay.counts["pulls_cut_off"] += 1
        return response

    async def acknowledge(_request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return _done(relay.acknowledge, body)

    async def drop(_request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return _done(relay.drop, body)

    app.router.add_post("/kv/pull", _answering(pull))
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
            return _error(_STATUS_OF_ERROR.get(type(error), 400), error.message)

    return answer


def _done(act: Callable[[str, str], None], body: dict[str, Any]) -> web.Response:
    """Acknowledging or dropping what is gone already is a success."""
    try:
        act(_text(body, "ticket"), _text(body, "capability"))
    except UnknownTicket:
        return web.json_response({"known": False})
    return web.json_response({"known": True})


def _rows(body: dict[str, Any]) -> list[object]:
    rows = body["tiles"]
    if not isinstance(rows, list) or not 1 <= len(rows) <= LIMIT_BOXES:
        raise ValueError(f"tiles must be a list of 1 to {LIMIT_BOXES} boxes")
    return rows


def _text(body: dict[str, Any], key: str) -> str:
    value = body[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a text")
    return value


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)
