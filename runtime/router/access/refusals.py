"""How a request is refused, in OpenAI's form: no key, over its limit, no room, too late."""

import contextlib
import math

from runtime.router import web
from runtime.router.access.admission import Shed
from runtime.router.access.limits import LimitReached
from runtime.router.surface.errors import SERVICE_UNAVAILABLE, error_event, error_response


def late(request: web.Request, response: web.StreamResponse | None, deadline_s: float) -> web.StreamResponse:
    """What a request gets that took too long: an error, or at the end of what it has of a stream an error event."""
    message = f"The request was not finished within its deadline of {deadline_s:g} s."
    if response is None:
        return error_response(504, message, kind=SERVICE_UNAVAILABLE, code="deadline_exceeded")
    response.force_close()
    with contextlib.suppress(ConnectionError):  # it has gone meanwhile
        response.write(error_event(message, request.path))
        response.write_eof()
    return response


def unauthorised(said: str) -> web.Response:
    message = (
        "The API key is not valid: unknown, revoked or expired."
        if said
        else "No API key was given: send it in the header, as Authorization: Bearer KEY (or x-api-key: KEY)."
    )
    headers = {"WWW-Authenticate": "Bearer"}
    return error_response(401, message, code="invalid_api_key", headers=headers)


def not_admin() -> web.Response:
    message = "The admin token is missing or wrong."
    return error_response(401, message, code="invalid_token", headers={"WWW-Authenticate": "Bearer"})


def too_many(reached: LimitReached) -> web.Response:
    seconds = math.ceil(reached.retry_after_s)
    message = f"The key's limit of {reached.per_minute} {reached.kind} a minute is reached. Try again in {seconds} s."
    headers = {"Retry-After": str(seconds)}
    return error_response(429, message, kind=reached.kind, code="rate_limit_exceeded", headers=headers)


def too_large(sequences: int, room: str) -> web.Response:
    message = f"The request is of {sequences} sequences (choices x prompts), and {room}. Ask for fewer at a time."
    return error_response(400, message, code="too_many_sequences")


def no_room(shed: Shed) -> web.Response:
    headers = {"Retry-After": f"{shed.retry_after_s:.0f}"}
    return error_response(503, f"{shed.reason}.", kind=SERVICE_UNAVAILABLE, code="overloaded", headers=headers)
