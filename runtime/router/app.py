"""The router as a server and as a process: everything is put together here."""

import asyncio
import logging
import signal
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path

from aiohttp import web

from planner.errors import SpecError, ThunderError
from runtime.files import write_json
from runtime.listening import bound_socket, is_loopback, parse_listen
from runtime.messages import Routes
from runtime.metrics import RouterMetrics
from runtime.processes import own_process_id
from runtime.router.endpoints import Endpoints
from runtime.router.epochs import RouteTable
from runtime.router.health import ReplicaHealth
from runtime.router.observed import Observed
from runtime.router.prober import Prober
from runtime.router.proxy import Proxy
from runtime.router.settings import RouterSettings
from runtime.router.upstream import Upstream
from runtime.tls import client_context

log = logging.getLogger(__name__)

DEFAULTS = RouterSettings()
LAST_BYTES_S = 1.0


def run_router(
    routes_path: Path,
    listen: str,
    *,
    tls_folder: Path | None = None,
    admin_token: str | None = None,
    state_path: Path | None = None,
    settings: RouterSettings = DEFAULTS,
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reads the routes file again.

    Once it listens it writes `state_path` (pid, started_at, host, port), and removes it at its end. Raises SpecError
    before it has begun where routes, credentials or address won't do.
    """
    tls = client_context(tls_folder) if tls_folder else None
    table = open_routes(routes_path, tls=tls)
    asyncio.run(_serve(table, listen, tls=tls, admin_token=admin_token, state_path=state_path, settings=settings))


def open_routes(path: Path, *, tls: ssl.SSLContext | None) -> RouteTable:
    """The routes file as a table that refuses routes this router has no credentials for."""
    return RouteTable(path, _refuse_tls if tls is None else _accept)


def create_app(
    table: RouteTable,
    *,
    tls: ssl.SSLContext | None = None,
    admin_token: str | None = None,
    settings: RouterSettings = DEFAULTS,
    probing: bool = True,
    now: Callable[[], float] = time.monotonic,
) -> web.Application:
    """The router's application. Run it with `handler_cancellation=True`: a client that goes cancels its legs."""
    health, observed, metrics = ReplicaHealth(now), Observed(now=now), RouterMetrics()
    upstream = Upstream(settings, tls)
    proxy = Proxy(table, upstream, health, observed=observed, metrics=metrics, settings=settings, now=now)
    endpoints = Endpoints(table, health, upstream, observed=observed, metrics=metrics, admin_token=admin_token)
    prober = Prober(table, upstream, health, settings)

    async def engines(_: web.Application) -> AsyncIterator[None]:
        async with upstream:
            probes = asyncio.create_task(prober.run()) if probing else None
            yield
            if probes is not None:
                probes.cancel()
                await asyncio.gather(probes, return_exceptions=True)

    app = web.Application(client_max_size=settings.max_body_bytes)
    app.cleanup_ctx.append(engines)
    app.on_shutdown.append(lambda _: proxy.stop())
    for path in ("/v1/chat/completions", "/v1/completions"):
        app.router.add_post(path, proxy.handle)
    app.router.add_get("/v1/models", endpoints.models)
    app.router.add_get("/health", endpoints.health)
    app.router.add_get("/metrics", endpoints.metrics)
    app.router.add_put("/admin/routes", endpoints.put_routes)
    app.router.add_get("/admin/observed", endpoints.get_observed)
    app.router.add_route("*", "/v1/embeddings", endpoints.embeddings)
    app.router.add_route("*", "/{rest:.*}", endpoints.unknown)
    return app


async def _serve(
    table: RouteTable,
    listen: str,
    *,
    tls: ssl.SSLContext | None,
    admin_token: str | None,
    state_path: Path | None,
    settings: RouterSettings,
) -> None:
    host, port = parse_listen(listen)
    if not is_loopback(host):
        raise SpecError(
            f"The router was to listen on {host}; expected a loopback address, as it knows no client keys yet.",
            hint="Listen on 127.0.0.1 and put an authenticating proxy or an SSH tunnel before it.",
        )
    app = create_app(table, tls=tls, admin_token=admin_token, settings=settings)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=LAST_BYTES_S)
    with bound_socket(host, port) as socket:
        await runner.setup()
        try:
            await web.SockSite(runner, socket).start()
            host, port = socket.getsockname()[:2]
            log.info("router listens on http://%s:%d with epoch %d", host, port, table.current.number)
            if state_path is not None:
                write_json(state_path, {**asdict(own_process_id()), "host": host, "port": port})
            await _until_told_to_stop(on_hangup=lambda: _reload(table))
        finally:
            if state_path is not None:
                state_path.unlink(missing_ok=True)
            await runner.cleanup()


async def _until_told_to_stop(*, on_hangup: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    await told.wait()


def _reload(table: RouteTable) -> None:
    try:
        table.reload()
    except ThunderError as error:
        log.error("the epoch in force stays: %s", error.message)


def _refuse_tls(routes: Routes) -> None:
    if named := [replica.id for replica in routes.replicas if replica.server_name]:
        raise SpecError(
            f"Routes reach {', '.join(named)} over mutual TLS, but this router has no credentials.",
            hint="Start it with the folder that holds ca.crt, tls.crt and tls.key.",
        )


def _accept(_: Routes) -> None:
    """With credentials every route can be used."""
