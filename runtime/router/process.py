"""The router as a process: from the reading of its files to SIGTERM."""

import asyncio
import logging
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from planner.errors import ThunderError
from runtime.files import write_json
from runtime.listening import bound_socket, parse_listen
from runtime.open_files import raise_file_limit
from runtime.processes import ProcessId, own_process_id
from runtime.router.access.exposure import ClientTls, check_exposure
from runtime.router.access.keys import KeyRing
from runtime.router.app import DEFAULTS, create_app, open_routes
from runtime.router.choosing.epochs import RouteTable
from runtime.router.serving import Application, run, serving
from runtime.router.settings import RouterSettings
from runtime.router.watching.access_log import AccessLog
from runtime.router.watching.telemetry import open_telemetry
from runtime.router.watching.usage import USAGE_FILE, UsageBook
from runtime.tls import client_context, keep_loaded

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Door:
    """A bound socket to serve on, by which process the router is known, and how many served on it and died before:
    `supervisor.py` holds it."""

    bound: socket.socket
    holder: ProcessId
    deaths: int = 0


def run_router(
    routes_path: Path,
    listen: str | Door,
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

    Requests under way then have their grace, which a second signal ends. Once it listens (at HOST:PORT, or a door) it
    writes `state_path` (pid, started_at, host, port, tls_cert, stop_grace_s, deaths, serves_since), and removes it when
    told to stop. Raises SpecError before it has begun where routes, credentials, keys or address won't do.
    """
    tls = client_context(tls_folder) if tls_folder else None
    table = open_routes(routes_path, tls=tls)
    raise_file_limit()
    keys = KeyRing(keys_path)
    host = parse_listen(listen)[0] if isinstance(listen, str) else listen.bound.getsockname()[0]
    check_exposure(host, has_keys=keys.required, client_tls=client_tls)
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
    serving_it = _serve(app, table, listen, state_path=state_path, client_tls=client_tls)
    run(_with_fresh(tls, tls_folder, serving_it) if tls and tls_folder else serving_it)


async def _with_fresh(tls: ssl.SSLContext, folder: Path, work: Coroutine[Any, Any, None]) -> None:
    """Do it, and load the credentials towards agents again whenever they change meanwhile."""
    fresh = asyncio.create_task(keep_loaded(folder, tls))
    try:
        await work
    finally:
        fresh.cancel()


async def _serve(
    app: Application,
    table: RouteTable,
    listen: str | Door,
    *,
    state_path: Path | None,
    client_tls: ClientTls | None,
) -> None:
    context = client_tls.context() if client_tls else None
    door = listen if isinstance(listen, Door) else Door(bound_socket(*parse_listen(listen)), own_process_id())
    with door.bound as bound:
        async with serving(app, bound, context):
            host, port = bound.getsockname()[:2]
            scheme = "https" if client_tls else "http"
            log.info("router listens on %s://%s:%d with epoch %d", scheme, host, port, table.current.number)
            if state_path is not None:
                certificate = str(client_tls.certificate) if client_tls else ""
                where = {"host": host, "port": port, "tls_cert": certificate, "stop_grace_s": app.settings.stop_grace_s}
                lives = {"deaths": door.deaths, "serves_since": time.time()}
                write_json(state_path, {**asdict(door.holder), **where, **lives})
            try:
                await _until_told_to_stop(app.hurry, on_hangup=lambda: _reload(table, client_tls, context))
            finally:
                if state_path is not None:
                    state_path.unlink(missing_ok=True)


async def _until_told_to_stop(on_second: Callable[[], None], *, on_hangup: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def tell() -> None:
        if told.is_set():
            on_second()
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tell)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    await told.wait()


def _reload(table: RouteTable, client_tls: ClientTls | None, context: ssl.SSLContext | None) -> None:
    try:
        if client_tls is not None and context is not None:
            client_tls.load_into(context)
        table.reload()
    except ThunderError as error:
        log.error("what is in force stays: %s", error.message)
