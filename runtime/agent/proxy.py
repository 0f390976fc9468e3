"""`/r/{replica}/{path}`: HTTP passed to an engine's socket as it is, both ways, as it comes.

A caller that goes away cancels the handler, and leaving the request's context closes the engine's connection at once:
vLLM then aborts the generation. A failure to reach the engine is 502, which no engine says of itself.
"""

from collections.abc import Mapping

import aiohttp
from aiohttp import web
from yarl import URL

from planner.errors import ReplicaUnhealthy
from runtime.agent.engine_http import BASE
from runtime.agent.supervisor import Supervisor

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


class EngineProxy:
    """Passes requests to the engines of one supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def handle(self, request: web.Request) -> web.StreamResponse:
        replica = request.match_info["replica"]
        try:
            session = self._supervisor.http(replica).session
        except ReplicaUnhealthy as error:
            return _bad_gateway(error.message)
        response: web.StreamResponse | None = None
        try:
            async with session.request(
                request.method,
                _engine_url(request, replica),
                data=request.content if request.body_exists else None,
                headers=_end_to_end(request.headers),
                allow_redirects=False,
            ) as answer:
                response = web.StreamResponse(status=answer.status, headers=_end_to_end(answer.headers))
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, OSError) as error:
            if response is None:
                return _bad_gateway(f"Replica {replica} can't be reached: {type(error).__name__}: {error}")
            # The head is out: only a broken connection tells the caller that the answer is not whole.
            if request.transport is not None:
                request.transport.abort()
            return response


def _engine_url(request: web.Request, replica: str) -> URL:
    return URL(BASE + request.raw_path.removeprefix(f"/r/{replica}"), encoded=True)


def _end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}


def _bad_gateway(message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "replica_unavailable"}}, status=502)
