"""The router's application: everything is put together here."""

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from planner.errors import SpecError
from runtime.messages import Routes
from runtime.metrics import RouterMetrics
from runtime.open_files import most_requests
from runtime.router import web
from runtime.router.access.access import Access
from runtime.router.access.admission import Admission
from runtime.router.access.capacity import capacity_rps_of, limit_of
from runtime.router.access.keys import KeyRing
from runtime.router.carrying.bereft import Bereft
from runtime.router.carrying.proxy import Proxy
from runtime.router.choosing.epochs import RouteTable
from runtime.router.choosing.health import ReplicaHealth
from runtime.router.choosing.prober import Prober
from runtime.router.choosing.queue_reader import QueueReader
from runtime.router.choosing.queues import Queues
from runtime.router.endpoints import Endpoints
from runtime.router.engines.upstream import Upstream
from runtime.router.life import Life
from runtime.router.serving import Application
from runtime.router.settings import RouterSettings
from runtime.router.surface.apis import APIS
from runtime.router.watching.access_log import AccessLog
from runtime.router.watching.observed import Observed
from runtime.router.watching.usage import UsageBook

if TYPE_CHECKING:
    from runtime.router.watching.traces import Telemetry

DEFAULTS = RouterSettings()


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
    upstream, queues = Upstream(settings, tls), Queues(table.load, settings.queues_every_s, now)
    admission = _admission(table, health, settings, now)
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
    bereft = _bereft(table, upstream, health, admission, settings)
    proxy = Proxy(
        table,
        upstream,
        health,
        bereft,
        metrics=metrics,
        settings=settings,
        retry_after_s=admission.retry_after_s,
        now=now,
    )
    endpoints = Endpoints(
        table,
        health,
        upstream,
        admission,
        bereft,
        queues,
        observed=observed,
        metrics=metrics,
        usage=usage,
        settings=settings,
        admin_token=admin_token,
    )
    prober = Prober(table, upstream, health, settings, lambda: bereft.waiting > 0)
    reader = QueueReader(table, upstream, health, queues, settings.queues_every_s)
    life = Life(upstream, admission, proxy, usage, [prober, reader] if probing else [], access_log, telemetry)
    find = _dispatch(proxy, endpoints)

    async def handle(request: web.Request) -> web.StreamResponse:
        return await access.handle(request, find.handler(request))

    return Application(handle, access.head, life.running, life.drain, proxy.hurry, settings)


def _admission(
    table: RouteTable, health: ReplicaHealth, settings: RouterSettings, now: Callable[[], float]
) -> Admission:
    """As many requests as the replicas that are up hold, and files suffice for."""
    most = min(settings.max_in_flight, most_requests(settings.max_queued))
    return Admission(
        lambda: limit_of(table.current, health.is_up, most),
        places=lambda: limit_of(table.current, lambda _: True, most),
        max_queued=settings.max_queued,
        queue_s=settings.queue_s,
        capacity_rps=lambda: capacity_rps_of(table.current, health.is_up),
        now=now,
    )


def _bereft(
    table: RouteTable, upstream: Upstream, health: ReplicaHealth, admission: Admission, settings: RouterSettings
) -> Bereft:
    """The wait for another plan, which ends with any change that could end it."""
    bereft = Bereft(
        table,
        upstream,
        health,
        most=settings.max_queued,
        wait_s=min(settings.bereft_s, settings.queue_s),
        is_closed=lambda: admission.is_closed,
    )
    for changing in (table, health, admission):
        changing.listeners.append(bereft.look)
    return bereft


def _dispatch(proxy: Proxy, endpoints: Endpoints) -> web.Dispatch:
    routes: list[tuple[str, str, web.Handler]] = [
        *(("POST", path, proxy.handle) for path in APIS),
        ("GET", "/v1/models", endpoints.models),
        ("GET", "/health", endpoints.health),
        ("GET", "/metrics", endpoints.metrics),
        ("GET", "/openapi.json", endpoints.openapi),
        ("PUT", "/admin/routes", endpoints.put_routes),
        ("GET", "/admin/observed", endpoints.get_observed),
        ("PUT", "/admin/closed", endpoints.put_closed),
        ("GET", "/admin/drained", endpoints.get_drained),
        ("GET", "/admin/usage", endpoints.get_usage),
        ("*", "/v1/embeddings", endpoints.embeddings),
        ("*", "/v1/responses/", endpoints.kept_nowhere),
    ]
    return web.Dispatch(routes, endpoints.unknown)


def _refuse_tls(routes: Routes) -> None:
    if named := [replica.id for replica in routes.replicas if replica.server_name]:
        raise SpecError(
            f"Routes reach {', '.join(named)} over mutual TLS, but this router has no credentials.",
            hint="Start it with the folder that holds ca.crt, tls.crt and tls.key.",
        )


def _accept(_: Routes) -> None:
    """With credentials every route can be used."""
