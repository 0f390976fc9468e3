"""The router of a deployment as a process of this host: started, told its routes, asked what it sees, stopped."""

import json
import os
import secrets
import ssl
import sys
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp

from planner.errors import HostError
from runtime.files import write_json, write_private
from runtime.messages import Routes
from runtime.router.watching.usage import USAGE_FILE, KeyUsage, read_usage, usage_from_json
from thunderctl.processes import detached
from thunderctl.processes.agents import cause_of, said_in
from thunderctl.spec.places import HERE, host_called
from thunderctl.spec.sections import ServeSection

COMMAND = (sys.executable, "-P", "-m", "thunderctl")
ROUTER_COMMAND = (*COMMAND, "run", "router")
LINK_DEADLINE_S = 1800.0
"""A host that never had a router gets its environment first."""
ROUTER_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "THUNDER_HOME", "PYTHONPATH")
TELEMETRY = "OTEL_"
"""These, and what begins with that, are all of the operator's environment that the router gets: it needs no credentials
of any provider."""
LAST_WORDS_S = 15.0
"""For the router to end in, when the grace of its requests is over."""
LINK_LAST_WORDS_S = 60.0
"""The same for one elsewhere, which is told over SSH."""
ENDS = "ends"
"""A file in the router's folder that tells a link to end the router too."""
LINK = "link.lock"
"""A file in the router's folder that the process of a link to a router elsewhere has locked, from before it makes the
way there; it says who that is, and where the way leads (`hosted/only_link.py`)."""
THERE = "there.json"
"""A file in the router's folder, while one may run on another host: which, and where on it (`hosted/router_end.py`)."""
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
TIMEOUT = aiohttp.ClientTimeout(total=10, connect=3)


class RouterProcess:
    """One router, whose folder holds `routes.json`, `admin.token`, `router.json`, the logs and `tls/`.

    The process writes `router.json` (pid, started_at, host, port, tls_cert, stop_grace_s, deaths, serves_since) once it
    listens, so whoever starts or finds it later reads the same. Client keys are in a file elsewhere. Every call may be
    made again. `host_at` says of a place in the spec what tells its host from others (`ControlHost.identity`).
    """

    def __init__(self, folder: Path, keys: Path, host_at: Callable[[str], str] = host_called) -> None:
        self.folder = folder
        self.keys = keys
        self.tls = folder / "tls"
        self._host_at = host_at

    def running(self) -> dict[str, Any] | None:
        """What `router.json` says, where that process is alive."""
        return detached.running(self.folder / "router.json")

    def listened(self, listen: str) -> str:
        """Where to start it: at any free port, the one that the last one had, as that is what clients know."""
        try:
            last = json.loads((self.folder / "router.json").read_text())
            return f"{listen[:-1]}{last['port']}" if listen.endswith(":0") else listen
        except (FileNotFoundError, ValueError, KeyError):
            return listen

    def linking(self) -> dict[str, Any] | None:
        """Which process keeps, or still makes, the way to a router elsewhere."""
        return detached.running(self.folder / LINK)

    @property
    def is_unlinked(self) -> bool:
        """Whether one may serve on another host while no link leads to it: nobody knows that it has ended."""
        return (self.folder / THERE).exists() and self.running() is None

    @property
    def may_run(self) -> bool:
        """Whether it runs, or may on another host though no link leads there."""
        return self.running() is not None or self.is_unlinked

    async def link_again(self, serving: ServeSection) -> None:
        """Have a link to one elsewhere where none leads there any more; the routes stay. Raises HostError."""
        if self.is_unlinked and (routes := self.routes()) is not None:
            await self.serve(routes, serving)

    @property
    def endpoint(self) -> str:
        """The base URL that clients use, empty while it doesn't run."""
        state = self.running()
        return f"{state.get('origin') or _origin(state)}/v1" if state else ""

    @property
    def deaths(self) -> tuple[int, float]:
        """How many routers died on its port, and since when (Unix time) the one after the last of them serves."""
        state = self.running() or {}
        return int(state.get("deaths", 0)), float(state.get("serves_since", 0.0))

    @property
    def trust(self) -> ssl.SSLContext | None:
        """What its certificate is held against; None while it shows none, or doesn't run."""
        state = self.running()
        found = _trust(state) if state else True
        return None if isinstance(found, bool) else found

    def routes(self) -> Routes | None:
        """The epoch in force, as the router's own file says."""
        path = self.folder / "routes.json"
        return Routes.from_json(json.loads(path.read_text())) if path.exists() else None

    async def serve(self, routes: Routes, serving: ServeSection) -> None:
        """Put `routes` in force: start the router with them, or tell the one that runs, which serves as it did.

        One where the spec no longer has it is ended first: HostError for as long as its host can't be reached.
        """
        if self._is_misplaced(serving.place):
            await self.stop()
        if self.running() is None and self.linking() is not None:  # who started that was killed meanwhile
            await detached.awaited(self.folder / "router.json", self.folder / LINK, deadline_s=LINK_DEADLINE_S)
        if state := self.running():
            await self._admin("PUT", "/admin/routes", routes.to_json())
            if state.get("place", HERE) != HERE:  # its own file is over there
                write_json(self.folder / "routes.json", routes.to_json())
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(self.folder / "routes.json", routes.to_json())
        if not (self.folder / "admin.token").exists():
            write_private(self.folder / "admin.token", secrets.token_urlsafe(32).encode())
        await self._start(serving)

    async def observed(self, window_s: float | None = None) -> dict[str, Any]:
        """What it saw of the traffic in its window, or the last part of it, as `GET /admin/observed` says."""
        asked = "" if window_s is None else f"?{urlencode({'window_s': window_s})}"
        found: dict[str, Any] = await self._admin("GET", f"/admin/observed{asked}")
        return found

    async def up(self) -> frozenset[str]:
        """The replicas of the epoch in force that it has not given up. Raises HostError where it can't be asked."""
        said = await self._admin("GET", "/health", well=(200, 503))
        try:
            return frozenset(name for name, is_up in said["replicas"].items() if is_up)
        except (KeyError, TypeError, AttributeError) as error:
            raise HostError(f"The router answers what can't be understood: {error!r}.") from error

    async def drained(self, replica: str, wait_s: float) -> int:
        """How many requests a replica still has: as soon as it has none, else after so long."""
        named = urlencode({"replica": replica, "wait_s": wait_s})
        return int((await self._admin("GET", f"/admin/drained?{named}"))["in_flight"])

    async def usage(self) -> dict[str, KeyUsage]:
        """What client keys have used, by key id: as the router counts it, else as it last wrote it down."""
        if self.running() is None:
            return read_usage(self.keys.with_name(USAGE_FILE))
        return usage_from_json(await self._admin("GET", "/admin/usage"))

    async def close(self) -> None:
        """Have it let no new request in, until it is told other routes; those under way go on."""
        await self._admin("PUT", "/admin/closed")

    async def stop(self) -> None:
        """End it: it refuses what comes, and finishes what it has within its own grace (`[serve] stop_grace_s`).

        One on another host is ended by its link, which a mark tells so: without one it goes on, as this machine is
        switched off. Where the link is gone, or could not, it is ended from here: HostError where its host can't be
        reached.
        """
        state = self.running() or self.linking()
        elsewhere = (state or {}).get("place", HERE) != HERE
        if elsewhere:
            (self.folder / ENDS).touch()
        await detached.stop(state, self.stop_grace_s + (LINK_LAST_WORDS_S if elsewhere else LAST_WORDS_S))
        if (self.folder / THERE).exists():
            from thunderctl.hosted.router_end import end_noted

            await end_noted(self.folder, self.keys)

    @property
    def stop_grace_s(self) -> float:
        """How long it lets requests finish when told to stop."""
        return float((self.running() or {}).get("stop_grace_s", 0.0))

    async def under_way(self) -> int:
        """Requests that it has not answered yet; 0 where it doesn't run or doesn't say."""
        try:
            return sum((await self.observed())["in_flight"].values())
        except HostError:
            return 0

    def _is_misplaced(self, place: str) -> bool:
        """Whether it runs, or may run though no link leads to it, elsewhere than the spec has it now."""
        if state := self.running() or self.linking():
            if "at" not in state:  # on this host, or of a link that an earlier version made
                return bool(state.get("place", HERE) != place)
            return bool(state["at"] != self._at(place))
        if not self.is_unlinked:
            return False
        from thunderctl.hosted.router_end import noted

        return noted(self.folder).host.identity != self._at(place)

    def _at(self, place: str) -> str:
        """What tells the host of a place from others; empty for this machine."""
        return "" if place == HERE else self._host_at(place)

    async def _start(self, serving: ServeSection) -> None:
        if serving.place != HERE:
            await self._start_link(serving)
            return
        await detached.start(
            "router",
            [*ROUTER_COMMAND, *self._arguments(serving)],
            environment={
                name: value
                for name, value in os.environ.items()
                if name in ROUTER_ENVIRONMENT or name.startswith(TELEMETRY)
            },
            log=self.folder / "router.log",
            is_up=lambda pid: (self.running() or {}).get("pid") == pid,
        )

    async def _start_link(self, serving: ServeSection) -> None:
        """Start what keeps the way to a router elsewhere; it logs in there as commands do, with all that is set."""
        await detached.start(
            "router",
            [*COMMAND, "--deployment", self.folder.parent.name, "run", "router-link", "--place", serving.place],
            environment=os.environ,
            log=self.folder / "router.log",
            is_up=lambda pid: (self.running() or {}).get("pid") == pid,
            deadline_s=LINK_DEADLINE_S,
        )

    def _arguments(self, serving: ServeSection) -> list[str]:
        named = {
            "--folder": self.folder,
            "--listen": serving.listen,
            "--keys": self.keys,
            "--deadline-s": serving.deadline_s,
            "--queue-s": serving.queue_s,
            "--stop-grace-s": serving.stop_grace_s,
            "--tls-cert": serving.tls_cert and Path(serving.tls_cert).absolute(),
            "--tls-key": serving.tls_key and Path(serving.tls_key).absolute(),
            "--access-log": self.folder / "access.log" if serving.access_log else "",
        }
        return [text for name, value in named.items() if value != "" for text in (name, str(value))]

    async def _admin(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, well: Container[int] = range(400)
    ) -> Any:
        state = self.running()
        if state is None:
            how = "has no link from here" if self.is_unlinked else "is not running"
            raise HostError(f"The router {how}.", hint="Start it with `thunderctl up`.")
        url = f"{_origin(state)}{path}"
        try:
            headers = {"Authorization": f"Bearer {(self.folder / 'admin.token').read_text().strip()}"}
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT, headers=headers) as session,
                session.request(method, url, json=body, ssl=_trust(state)) as response,
            ):
                if response.status not in well:
                    raise HostError(f"The router said no: {said_in(await response.text())}")
                return await response.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
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
