"""The router as a server and as a process: everything is put together here."""

import asyncio
import contextlib
import logging
import signal
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import web

from planner.errors import SpecError, ThunderError
from runtime.files import write_json
from runtime.listening import bound_socket, parse_listen
from runtime.messages import Routes
from runtime.metrics import RouterMetrics
from runtime.processes import own_process_id
from runtime.router.access import Access
from runtime.router.access_log import AccessLog
from runtime.router.admission import Admission, limit_of
from runtime.router.endpoints import Endpoints
from runtime.router.epochs import RouteTable
from runtime.router.exposure import ClientTls, check_exposure
from runtime.router.health import ReplicaHealth
from runtime.router.keys import KeyRing
from runtime.router.observed import Observed
from runtime.router.prober import Prober
from runtime.router.proxy import Proxy
from runtime.router.settings import RouterSettings
from runtime.router.upstream import Upstream
from runtime.router.usage import USAGE_FILE, UsageBook
from runtime.tls import client_context

log = logging.getLogger(__name__)

DEFAULTS = RouterSettings()
LAST_BYTES_S = 1.0
SAVE_USAGE_EVERY_S = 30.0


def run_router(
    routes_path: Path,
    listen: str,
    *,
    tls_folder: Path | None = None,
    admin_token: str | None = None,
    state_path: Path | None = None,
    settings: RouterSettings = DEFAULTS,
    keys_path: Path | None = None,
    access_log: AccessLog | None = None,
    client_tls: ClientTls | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reads the routes file and the clients' certificate again.

    Once it listens it writes `state_path` (pid, started_at, host, port, tls_cert), and removes it at its end. Raises
    SpecError before it has begun where routes, credentials, keys or address won't do.
    """
    tls = client_context(tls_folder) if tls_folder else None
    table = open_routes(routes_path, tls=tls)
    keys = KeyRing(keys_path)
    check_exposure(parse_listen(listen)[0], has_keys=keys.required, client_tls=client_tls)
    usage = UsageBook(keys_path.with_name(USAGE_FILE) if keys_path else None)
    app = create_app(
        table, tls=tls, admin_token=admin_token, settings=settings, keys=keys, usage=usage, access_log=access_log
    )
    asyncio.run(_serve(app, table, listen, state_path=state_path, settings=settings, client_tls=client_tls))


def open_routes(path: Path, *, tls: ssl.SSLContext | None) -> RouteTable:
    """The routes file as a table that refuses routes this router has no credentials for."""
    return RouteTable(path, _refuse_tls if tls is None else _accept)


def create_app(
    table: RouteTable,
    *,
    tls: ssl.SSLContext | None = None,
    admin_token: str | None = None,
    settings: RouterSettings = DEFAULTS,
    keys: KeyRing | None = None,
    usage: UsageBook | None = None,
    access_log: AccessLog | None = None,
    probing: bool = True,
    now: Callable[[], float] = time.monotonic,
) -> web.Application:
    """The router's application. Run it with `handler_cancellation=True`: a client that goes cancels its legs."""
    health, observed, metrics = ReplicaHealth(now), Observed(now=now), RouterMetrics()
    keys, usage = keys or KeyRing(None), usage or UsageBook()
    upstream = Upstream(settings, tls)
    admission = Admission(
        lambda: limit_of(table.current, health.is_up, settings.max_in_flight),
        max_queued=settings.max_queued,
        queue_s=settings.queue_s,
        now=now,
    )
    access = Access(
        keys,
        admission,
        observed=observed,
        metrics=metrics,
        usage=usage,
        settings=settings,
        admin_token=admin_token,
        access_log=access_log,
        now=now,
    )
    proxy = Proxy(table, upstream, health, metrics=metrics, settings=settings, now=now)
    endpoints = Endpoints(
        table, health, upstream, admission, observed=observed, metrics=metrics, usage=usage, admin_token=admin_token
    )
    prober = Prober(table, upstream, health, settings)

    async def engines(_: web.Application) -> AsyncIterator[None]:
        async with upstream, _beside(_save_usage(usage), *([prober.run()] if probing else [])):
            yield
        usage.save()
        if access_log is not None:
            access_log.flush()

    async def drain(_: web.Application) -> None:
        admission.close()
        await proxy.stop()

    app = web.Application(client_max_size=settings.max_body_bytes, middlewares=[access.handle])
    app.cleanup_ctx.append(engines)
    app.on_response_prepare.append(access.head)
    app.on_shutdown.append(drain)
    _mount(app, proxy, endpoints)
    return app


@contextlib.asynccontextmanager
async def _beside(*endless: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these until the block ends."""
    tasks = [asyncio.create_task(work) for work in endless]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _mount(app: web.Application, proxy: Proxy, endpoints: Endpoints) -> None:
    for path in ("/v1/chat/completions", "/v1/completions"):
        app.router.add_post(path, proxy.handle)
    app.router.add_get("/v1/models", endpoints.models)
    app.router.add_get("/health", endpoints.health)
    app.router.add_get("/metrics", endpoints.metrics)
    app.router.add_put("/admin/routes", endpoints.put_routes)
    app.router.add_get("/admin/observed", endpoints.get_observed)
    app.router.add_get("/admin/usage", endpoints.get_usage)
    app.router.add_route("*", "/v1/embeddings", endpoints.embeddings)
    app.router.add_route("*", "/{rest:.*}", endpoints.unknown)


async def _serve(
    app: web.Application,
    table: RouteTable,
    listen: str,
    *,
    state_path: Path | None,
    settings: RouterSettings,
    client_tls: ClientTls | None,
) -> None:
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=LAST_BYTES_S,
        max_line_size=settings.max_header_bytes,
        max_field_size=settings.max_header_bytes,
    )
    context = client_tls.context() if client_tls else None
    with bound_socket(*parse_listen(listen)) as socket:
        await runner.setup()
        try:
            await web.SockSite(runner, socket, ssl_context=context).start()
            host, port = socket.getsockname()[:2]
            scheme = "https" if client_tls else "http"
            log.info("router listens on %s://%s:%d with epoch %d", scheme, host, port, table.current.number)
            if state_path is not None:
                certificate = str(client_tls.certificate) if client_tls else ""
                where = {"host": host, "port": port, "tls_cert": certificate}
                write_json(state_path, {**asdict(own_process_id()), **where})
            await _until_told_to_stop(on_hangup=lambda: _reload(table, client_tls, context))
            await app.shutdown()  # while it still listens, so that new requests are told when to come back
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


async def _save_usage(usage: UsageBook) -> None:
    while True:
        await asyncio.sleep(SAVE_USAGE_EVERY_S)
        usage.save()


def _reload(table: RouteTable, client_tls: ClientTls | None, context: ssl.SSLContext | None) -> None:
    try:
        if client_tls is not None and context is not None:
            client_tls.load_into(context)
        table.reload()
    except ThunderError as error:
        log.error("what is in force stays: %s", error.message)


def _refuse_tls(routes: Routes) -> None:
    if named := [replica.id for replica in routes.replicas if replica.server_name]:
        raise SpecError(
            f"Routes reach {', '.join(named)} over mutual TLS, but this router has no credentials.",
            hint="Start it with the folder that holds ca.crt, tls.crt and tls.key.",
        )


def _accept(_: Routes) -> None:
    """With credentials every route can be used."""
