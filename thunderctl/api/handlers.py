"""What handlers of requests share: the mark of those that anybody may call, and how they read what is asked."""

import json
import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from thunderctl.api.refusals import Refusal

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
H = TypeVar("H", bound=Callable[..., Any])
B = TypeVar("B", bound=BaseModel)


def public(handler: H) -> H:
    """Mark a handler that anybody may call, signed in or not: the page to sign in at, and what makes it look well."""
    handler.is_public = True  # type: ignore[attr-defined]
    return handler


def is_public(handler: object) -> bool:
    return bool(getattr(handler, "is_public", False))


async def body_of(request: web.Request, kind: type[B]) -> B:
    """The request's JSON as that. Raises Refusal naming the key that is wrong."""
    if request.content_type != "application/json" and request.body_exists:
        raise Refusal(415, "SpecError", f"The body is {request.content_type}; expected application/json.")
    try:
        return kind.model_validate(json.loads(await request.read() or b"{}"))
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "SpecError", f"The body can't be used: {_why(error)}.") from error


def whole(request: web.Request, name: str, default: int, most: int) -> int:
    """A whole number of the query, from 0 on. Raises Refusal."""
    found = number(request, name, default, most)
    if found != int(found):
        raise Refusal(400, "SpecError", f"{name} is {found:g}; expected a whole number.")
    return int(found)


def number(request: web.Request, name: str, default: float, most: float) -> float:
    """A number of the query, from 0 on. Raises Refusal."""
    said = request.query.get(name)
    if said is None:
        return default
    try:
        found = float(said)
    except ValueError:
        found = math.nan
    if not 0 <= found <= most:
        raise Refusal(400, "SpecError", f"{name} is {said[:40]!r}; expected a number from 0 to {most:g}.")
    return found


def _why(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "it is no JSON" if isinstance(error, json.JSONDecodeError) else (str(error) or type(error).__name__)
    first: Any = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "it"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"
