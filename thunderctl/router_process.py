"""The router of a deployment as a process of this host: started, told its routes, asked what it sees, stopped."""

import asyncio
import json
import os
import secrets
import signal
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from planner.errors import HostError, SpecError
from runtime.files import write_json, write_private
from runtime.messages import Routes
from runtime.processes import ProcessId, is_alive
from runtime.router.usage import USAGE_FILE, KeyUsage, read_usage, usage_from_json
from thunderctl.agents import cause_of, said_in
from thunderctl.spec import ServeSection

ROUTER_COMMAND = (sys.executable, "-P", "-m", "thunderctl", "run", "router")
ROUTER_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "THUNDER_HOME")
TELEMETRY = "OTEL_"
"""These, and what begins with that, are all of the operator's environment that the router gets: it needs no credentials
of any provider."""
START_DEADLINE_S = 30.0
STOP_GRACE_S = 15.0
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
TIMEOUT = aiohttp.ClientTimeout(total=10, connect=3)


class RouterProcess:
    """One router, whose folder holds `routes.json`, `admin.token`, `router.json`, the logs and `tls/`.

    The process writes `router.json` (pid, started_at, host, port, tls_cert) itself once it listens, so whoever starts
    or finds it later reads the same. Client keys are in a file elsewhere. Every call may be made again.
    """

    def __init__(self, folder: Path, keys: Path) -> None:
        self.folder = folder
        self.keys = keys
        self.tls = folder / "tls"

    def running(self) -> dict[str, Any] | None:
        """What `router.json` says, where that process is alive."""
        try:
            state: dict[str, Any] = json.loads((self.folder / "router.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return state if is_alive(ProcessId(state["pid"], state["started_at"])) else None

    @property
    def endpoint(self) -> str:
        """The base URL that clients use, empty while it doesn't run."""
        state = self.running()
        return f"{_origin(state)}/v1" if state else ""

    def routes(self) -> Routes | None:
        """The epoch in force, as the router's own file says."""
        path = self.folder / "routes.json"
        return Routes.from_json(json.loads(path.read_text())) if path.exists() else None

    async def serve(self, routes: Routes, serving: ServeSection) -> None:
        """Put `routes` in force: start the router with them, or tell the one that runs, which serves as it did."""
        if self.running():
            await self._admin("PUT", "/admin/routes", routes.to_json())
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(self.folder / "routes.json", routes.to_json())
        if not (self.folder / "admin.token").exists():
            write_private(self.folder / "admin.token", secrets.token_urlsafe(32).encode())
        await self._start(serving)

    async def observed(self) -> dict[str, Any]:
        """What it saw of the traffic in its window, as `GET /admin/observed` says."""
        found: dict[str, Any] = await self._admin("GET", "/admin/observed")
        return found

    async def usage(self) -> dict[str, KeyUsage]:
        """What client keys have used, by key id: as the router counts it, else as it last wrote it down."""
        if self.running() is None:
            return read_usage(self.keys.with_name(USAGE_FILE))
        return usage_from_json(await self._admin("GET", "/admin/usage"))

    async def stop(self) -> None:
        """End it: it finishes the streams it has within the grace."""
        state = self.running()
        if state is None:
            return
        process = ProcessId(state["pid"], state["started_at"])
        os.kill(process.pid, signal.SIGTERM)
        for _ in range(round(STOP_GRACE_S / 0.1)):
            if not is_alive(process):
                return
            await asyncio.sleep(0.1)
        if is_alive(process):
            os.kill(process.pid, signal.SIGKILL)

    async def _start(self, serving: ServeSection) -> None:
        with (self.folder / "router.log").open("ab") as log:
            mark = log.tell()
            process = subprocess.Popen(
                [*ROUTER_COMMAND, *self._arguments(serving)],
                env={
                    name: value
                    for name, value in os.environ.items()
                    if name in ROUTER_ENVIRONMENT or name.startswith(TELEMETRY)
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for _ in range(round(START_DEADLINE_S / 0.1)):
            if (state := self.running()) and state["pid"] == process.pid:
                return
            if process.poll() is not None:
                said = (self.folder / "router.log").read_bytes()[mark:].decode(errors="replace").strip()
                kind = SpecError if process.returncode == SpecError.exit_code else HostError
                message, _, hint = said.removeprefix("error: ").partition("\nhint: ")
                raise kind(f"The router did not start: {message or 'it said nothing'}", hint=hint)
            await asyncio.sleep(0.1)
        process.kill()
        raise HostError(f"The router did not listen within {START_DEADLINE_S:.0f} s.")

    def _arguments(self, serving: ServeSection) -> list[str]:
        named = {
            "--folder": self.folder,
            "--listen": serving.listen,
            "--keys": self.keys,
            "--deadline-s": serving.deadline_s,
            "--queue-s": serving.queue_s,
            "--tls-cert": serving.tls_cert and Path(serving.tls_cert).absolute(),
            "--tls-key": serving.tls_key and Path(serving.tls_key).absolute(),
            "--access-log": self.folder / "access.log" if serving.access_log else "",
        }
        return [text for name, value in named.items() if value != "" for text in (name, str(value))]

    async def _admin(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        state = self.running()
        if state is None:
            raise HostError("The router is not running.", hint="Start it with `thunderctl up`.")
        url = f"{_origin(state)}{path}"
        headers = {"Authorization": f"Bearer {(self.folder / 'admin.token').read_text().strip()}"}
        try:
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT, headers=headers) as session,
                session.request(method, url, json=body, ssl=_trust(state)) as response,
            ):
                if response.status >= 400:
                    raise HostError(f"The router said no: {said_in(await response.text())}")
                return await response.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise HostError(f"The router at {url} can't be reached: {cause_of(error)}.") from error


def _origin(state: Mapping[str, Any]) -> str:
    """Where a router that listens there is reached from this host."""
    host = ANY_ADDRESS.get(state["host"], state["host"])
    scheme = "https" if state.get("tls_cert") else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{state['port']}"


def _trust(state: Mapping[str, Any]) -> ssl.SSLContext | bool:
    """Our own router shows the certificate in its state, whatever name is in it and whoever signed it."""
    if not state.get("tls_cert"):
        return True
    context = ssl.create_default_context(cafile=state["tls_cert"])
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context
