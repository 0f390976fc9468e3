"""Errors in the form that OpenAI's clients read."""

import json

from aiohttp import web

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"
SERVICE_UNAVAILABLE = "service_unavailable"


def error_document(message: str, *, kind: str, code: str | None = None) -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def error_response(
    status: int,
    message: str,
    *,
    kind: str = INVALID_REQUEST,
    code: str | None = None,
    headers: dict[str, str] | None = None,
) -> web.Response:
    """An answer that is an error, and says so in its body."""
    return web.json_response(error_document(message, kind=kind, code=code), status=status, headers=headers)


def error_event(message: str) -> bytes:
    """What ends a stream that can't be finished, as vLLM says it: no event name, which some clients don't expect."""
    document = json.dumps(error_document(message, kind=SERVER_ERROR, code="stream_interrupted"))
    return f"data: {document}\n\n".encode()
