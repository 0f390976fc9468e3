"""A host of the failover benchmark: an agent's port over mutual TLS, whose engines are a line in a file.

python -m benchmarks.failover_host HOST LEASE CREDENTIALS STATE REPLICA…

STATE says `ready` or `failed`: as an agent would say of its engines to the controller, and answer the router's probes.
"""

import sys
from pathlib import Path

from aiohttp import web

from runtime.messages import AgentHealth, EngineHealth
from runtime.tls import server_context

PORT = 8443


def main() -> None:
    host, lease, credentials, state, *replicas = sys.argv[1:]

    async def health(_request: web.Request) -> web.Response:
        engines = tuple(EngineHealth(one, Path(state).read_text()) for one in replicas)
        return web.json_response(AgentHealth(lease, "1", engines=engines).to_json())

    async def engine(_request: web.Request) -> web.Response:
        return web.Response(status=200 if Path(state).read_text() == "ready" else 502)

    app = web.Application()
    app.router.add_get("/health", health)
    app.router.add_route("*", "/r/{path:.*}", engine)
    context = server_context(Path(credentials))
    web.run_app(app, host=host, port=PORT, ssl_context=context, print=lambda _: print("ready", flush=True))


if __name__ == "__main__":
    main()
