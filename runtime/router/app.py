"""The router as a server and as a process: everything is put together here."""

import asyncio
import contextlib
import logging
import os
import signal
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.errors import SpecError, ThunderError
from runtime.files import write_json
from runtime.listening import bound_socket, parse_listen
from runtime.messages import Routes
from runtime.metrics import RouterMetrics
from runtime.processes import own_process_id
from runtime.router import web
from runtime.router.access import Access
from runtime.router.access_log import AccessLog
from runtime.router.admission import Admission, limit_of
from runtime.router.apis import APIS
from runtime.router.endpoints import Endpoints
from runtime.router.epochs import RouteTable
from runtime.router.exposure import ClientTls, check_exposure
from runtime.router.health import ReplicaHealth
from runtime.router.keys import KeyRing
from runtime.router.observed import Observed
from runtime.router.open_files import most_requests, raise_limit
from runtime.router.prober import Prober
from runtime.router.proxy import Proxy
from runtime.router.serving import Application, run, serving
from runtime.router.settings import RouterSettings
from runtime.router.telemetry import open_telemetry
from runtime.router.upstream import Upstream
from runtime.router.usage import USAGE_FILE, UsageBook
from runtime.tls import client_context

if TYPE_CHECKING:
    from runtime.router.traces import Telemetry

log = logging.getLogger(__name__)

DEFAULTS = RouterSettings()
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
    raise_limit()
    keys = KeyRing(keys_path)
    check_exposure(parse_listen(listen)[0], has_keys=keys.required, client_tls=client_tls)
    usage = UsageBook(keys_path.with_name(USAGE_FILE) if keys_path else None)
    app = create_app(
        table,
        tls=tls,
        admin_token=admin_token,
        settings=settings,
        keys=keys,
        usage=usage,
        access_log=access_log,
        telemetry=open_telemetry(os.environ),
    )
    run(_serve(app, table, listen, state_path=state_path, client_tls=client_tls))


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
    telemetry: "Telemetry | None" = None,
    probing: bool = True,
    now: Callable[[], float] = time.monotonic,
) -> Application:
    """The router's application over the routes in force."""
    health, observed, metrics = ReplicaHealth(now), Observed(now=now), RouterMetrics()
    keys, usage = keys or KeyRing(None), usage or UsageBook()
    upstream = Upstream(settings, tls)
    most = min(settings.max_in_flight, most_requests(settings.max_queued))
    admission = Admission(
        lambda: limit_of(table.current, health.is_up, most),
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
        telemetry=telemetry,
        now=now,
    )
    proxy = Proxy(table, upstream, health, metrics=metrics, settings=settings, now=now)
    endpoints = Endpoints(
        table,
        health,
        upstream,
        admission,
        observed=observed,
        metrics=metrics,
        usage=usage,
        settings=settings,
        admin_token=admin_token,
    )
    prober = Prober(table, upstream, health, settings)

    find = _dispatch(proxy, endpoints)

    async def handle(request: web.Request) -> web.StreamResponse:
        return await access.handle(request, find.handler(request))

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with upstream, _beside(_save_usage(usage), *([prober.run()] if probing else [])):
            yield
        usage.save()
        if access_log is not None:
            access_log.flush()
        if telemetry is not None:
            await asyncio.to_thread(telemetry.close)

    async def drain() -> None:
        admission.close()
        await proxy.stop()

    return Application(handle, access.head, running, drain, settings)


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


def _dispatch(proxy: Proxy, endpoints: Endpoints) -> web.Dispatch:
    routes: list[tuple[str, str, web.Handler]] = [
        *(("POST", path, proxy.handle) for path in APIS),
        ("GET", "/v1/models", endpoints.models),
        ("GET", "/health", endpoints.health),
        ("GET", "/metrics", endpoints.metrics),
        ("GET", "/openapi.json", endpoints.openapi),
        ("PUT", "/admin/routes", endpoints.put_routes),
        ("GET", "/admin/observed", endpoints.get_observed),
        ("GET", "/admin/usage", endpoints.get_usage),
        ("*", "/v1/embeddings", endpoints.embeddings),
        ("*", "/v1/responses/", endpoints.kept_nowhere),
    ]
    return web.Dispatch(routes, endpoints.unknown)


async def _serve(
    app: Application,
    table: RouteTable,
    listen: str,
    *,
    state_path: Path | None,
    client_tls: ClientTls | None,
) -> None:
    context = client_tls.context() if client_tls else None
    with bound_socket(*parse_listen(listen)) as socket:
        async with serving(app, socket, context):
            host, port = socket.getsockname()[:2]
            scheme = "https" if client_tls else "http"
            log.info("router listens on %s://%s:%d with epoch %d", scheme, host, port, table.current.number)
            if state_path is not None:
                certificate = str(client_tls.certificate) if client_tls else ""
                where = {"host": host, "port": port, "tls_cert": certificate}
                write_json(state_path, {**asdict(own_process_id()), **where})
            try:
                await _until_told_to_stop(on_hangup=lambda: _reload(table, client_tls, context))
            finally:
                if state_path is not None:
                    state_path.unlink(missing_ok=True)


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
