"""`/r/{replica}/{path}`: HTTP passed to an engine's socket as it is, both ways, as it comes.

A caller that goes away cancels the handler, and leaving the request's context closes the engine's connection at once:
vLLM then aborts the generation. A failure to reach the engine is 502, which no engine says of itself.

Nothing is said to the caller before the first byte of the engine's body: until then the engine's connector may still
refuse a request, which vLLM itself can't, and the answer is 503. A router then tries another replica. But a ticket is
said as soon as it is reserved, in an interim answer (103): whoever takes it up may fetch while the prompt is computed.
"""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from planner.errors import ReplicaUnhealthy
from runtime.agent.engine_http import BASE
from runtime.agent.supervisor import Supervisor

REQUEST_ID = "X-Request-Id"
TICKET = "X-Thunder-Ticket"
INTERIM = b"HTTP/1.1 103 Early Hints\r\n%b: %b\r\n\r\n"
"""Written past aiohttp's server, which knows no interim answer but 100."""

HOP_BY_HOP = frozenset(
    {
        "connection",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

ENGINES_NAME = re.compile(r"(?:\d+_)?(?:cmpl-(.+)-\d+|chatcmpl-(.+))-[0-9a-f]{8}")
"""What vLLM makes of a request's id as its own name of it (0.32: completions, chats, one of `n`)."""


class EngineProxy:
    """Passes requests to the engines of one supervisor. Those `_unanswered`, by replica and id, can be refused."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._unanswered: defaultdict[tuple[str, str], dict[asyncio.Timeout, web.Request]] = defaultdict(dict)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        replica = request.match_info["replica"]
        try:
            session = self._supervisor.http(replica).session
        except ReplicaUnhealthy as error:
            return _unavailable(502, error.message)
        response: web.StreamResponse | None = None
        deadline, name = asyncio.timeout(None), (replica, request.headers.get(REQUEST_ID, ""))
        self._unanswered[name][deadline] = request
        try:
            async with deadline, session.request(**_to_engine(request, replica)) as answer:
                chunk = await answer.content.readany()
                self._answered(name, deadline)
                deadline.reschedule(None)  # A refusal that came in the very moment is too late: it is being answered.
                response = web.StreamResponse(status=answer.status, headers=_end_to_end(answer.headers))
                await response.prepare(request)
                while chunk:
                    await response.write(chunk)
                    chunk = await answer.content.readany()
                await response.write_eof()
                return response
        except (aiohttp.ClientError, OSError) as error:
            if deadline.expired():
                return _unavailable(503, f"Replica {replica} lacks the prompt's KV, and can't compute it soon.")
            if response is None:
                return _unavailable(502, f"Replica {replica} can't be reached: {type(error).__name__}: {error}")
            # The head is out: only a broken connection tells the caller that the answer is not whole.
            if request.transport is not None:
                request.transport.abort()
            return response
        finally:
            self._answered(name, deadline)

    def refuse(self, replica: str, engine_request: str) -> None:
        """End a request that an engine wants to be rid of, unless it is being answered already."""
        if (found := self._named(replica, engine_request)) is not None:
            name, deadline, _ = found
            self._answered(name, deadline)
            deadline.reschedule(0.0)

    def tell(self, replica: str, engine_request: str, ticket: Mapping[str, object]) -> None:
        """Say the ticket of a request that an engine has begun to compute, unless it is being answered already."""
        if (found := self._named(replica, engine_request)) is not None:
            _, _, request = found
            if request.transport is not None:
                request.transport.write(INTERIM % (TICKET.encode(), json.dumps(ticket).encode()))

    def _named(self, replica: str, engine_request: str) -> tuple[tuple[str, str], asyncio.Timeout, web.Request] | None:
        """The one request of that replica that is meant. None where it could be several: a ticket opens a prompt."""
        name = replica, request_id(engine_request)
        named = self._unanswered.get(name, {})
        if len(named) != 1:
            return None
        [(deadline, request)] = named.items()
        return name, deadline, request

    def _answered(self, name: tuple[str, str], deadline: asyncio.Timeout) -> None:
        """It has an answer, or will have none. Safe to repeat."""
        named = self._unanswered.get(name, {})
        named.pop(deadline, None)
        if not named:
            self._unanswered.pop(name, None)


def _to_engine(request: web.Request, replica: str) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": _engine_url(request, replica),
        "data": request.content if request.body_exists else None,
        "headers": _end_to_end(request.headers),
        "allow_redirects": False,
    }


def _engine_url(request: web.Request, replica: str) -> URL:
    return URL(BASE + request.raw_path.removeprefix(f"/r/{replica}"), encoded=True)


def _end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}


def request_id(engine_request: str) -> str:
    """The id that a request came with, by the name that vLLM made of it; empty where that is none of vLLM's."""
    found = ENGINES_NAME.fullmatch(engine_request)
    return (found[1] or found[2]) if found else ""


def _unavailable(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "replica_unavailable"}}, status=status)
