"""Errors in the form that a path's clients read: OpenAI's, or for `/v1/messages` Anthropic's."""

import json
import re

from runtime.router import web
from runtime.router.surface.apis import Dialect, dialect_of

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"
SERVICE_UNAVAILABLE = "service_unavailable"
INTERRUPTED = "stream_interrupted"

NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}", re.ASCII)
ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""By status; other 4xx are `invalid_request_error` and other 5xx `api_error`."""


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
    """An answer that is an error, and says so in its body, in OpenAI's form."""
    return web.json_response(error_document(message, kind=kind, code=code), status=status, headers=headers)


def error_event(message: str, path: str = "") -> bytes:
    """What ends a stream that can't be finished.

    In OpenAI's form as vLLM says it: no event name, which some clients don't expect.
    """
    match dialect_of(path):
        case Dialect.ANTHROPIC:
            return _named(_anthropic("api_error", message))
        case Dialect.RESPONSES:
            said = {"code": INTERRUPTED, "message": message, "param": None, "sequence_number": 0}
            return _named({"type": "error", **said})
        case Dialect.OPENAI:
            document = error_document(message, kind=SERVER_ERROR, code=INTERRUPTED)
            return f"data: {json.dumps(document)}\n\n".encode()


def in_dialect(response: web.StreamResponse, path: str) -> web.StreamResponse:
    """An answer that has not begun, its error in the path's form: ours, and what vLLM says of bodies it rejects."""
    if response.status < 400 or response.prepared or not isinstance(response, web.Response):
        return response
    if dialect_of(path) is Dialect.ANTHROPIC and (message := _openai_message(response.body)) is not None:
        kind = ANTHROPIC_TYPES.get(response.status, INVALID_REQUEST if response.status < 500 else "api_error")
        response.body = json.dumps(_anthropic(kind, message)).encode()
    return response


def error_kind(body: bytes) -> str:
    """An engine's error by its type and code, in brackets; never its message, which may have words of the prompt."""
    try:
        document = json.loads(body)
        error = document.get("error", document)
        said = [str(error[word]) for word in ("type", "code") if error.get(word)]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return ""
    names = [name for name in said if NAME.fullmatch(name)]
    return f" ({', '.join(names)})" if names else ""


def _openai_message(body: object) -> str | None:
    try:
        document = json.loads(body) if isinstance(body, bytes) else None
        return None if not isinstance(document, dict) or "type" in document else str(document["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return None


def _anthropic(kind: str, message: str) -> dict[str, object]:
    return {"type": "error", "error": {"type": kind, "message": message}}


def _named(document: dict[str, object]) -> bytes:
    return f"event: error\ndata: {json.dumps(document)}\n\n".encode()
