"""JSON over HTTP, for providers without an SDK: sent once, and whatever comes of it is a value."""

import asyncio
import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

from planner.errors import AuthError, ProvisioningError, RateLimited

ANSWER_S = 30.0
AGENT = "thunderctl"
"""Python's own name is turned away by some that guard APIs."""
QUOTED_CHARACTERS = 300
REFUSALS = frozenset({400, 401, 402, 403, 404, 405, 410, 413, 422, 429})
"""Statuses by which a request is turned down before it did anything. Any other failure may have done its work."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status with its JSON, else its text; status 0 where none came, with the cause as its text."""

    status: int
    body: Any

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    def __str__(self) -> str:
        """For error messages: a problem's detail and list of failures (RFC 9457), else all that was said."""
        problem = self.body if isinstance(self.body, Mapping) else {}
        failures = problem.get("errors")
        named = [problem.get("detail"), *(failures if isinstance(failures, list) else ())]
        said = (" ".join(str(text) for text in named if text) or str(self.body))[:QUOTED_CHARACTERS]
        return f"answered {self.status} ({said})" if self.status else f"gave no answer ({said})"


class _Straight(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else: the key would go along, and a request that asks for something would become one that reads."""

    def redirect_request(self, *_given: object) -> None:
        return None


_opener = urllib.request.build_opener(_Straight)


async def send(method: str, url: str, *, api_key: str = "", body: Mapping[str, Any] | None = None) -> Answer:
    """Send it, with the key as a bearer token. Never again by itself: who may ask twice knows that it may."""
    return await asyncio.to_thread(_sent, method, url, api_key, body)


def refusal(message: str, answer: Answer, credentials: str) -> ProvisioningError:
    """The error for an answer that is no success; `credentials` says where right ones are to be had."""
    if answer.status in (401, 403):
        return AuthError(f"{message}: it {answer}.", hint=credentials)
    return (RateLimited if answer.status == 429 else ProvisioningError)(f"{message}: it {answer}.")


def _sent(method: str, url: str, api_key: str, body: Mapping[str, Any] | None) -> Answer:
    headers = {"Content-Type": "application/json", "User-Agent": AGENT}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    try:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            response = _opener.open(request, timeout=ANSWER_S)
        except HTTPError as error:
            response = error  # which is an answer as well
        with response:
            return Answer(response.status, _content(response.read()))
    except (OSError, HTTPException, ValueError) as error:  # the last for a URL that is none
        return Answer(0, repr(getattr(error, "reason", error)))


def _content(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")
