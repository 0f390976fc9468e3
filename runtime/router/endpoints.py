"""The router's endpoints beside completions: models, health, metrics, administration, and what it doesn't serve."""

import asyncio
import contextlib
import hmac
import json
from collections import Counter
from dataclasses import asdict
from typing import Any

from planner.errors import Refused, SpecError
from runtime.metrics import CONTENT_TYPE, RouterMetrics
from runtime.router import web
from runtime.router.access.admission import Admission
from runtime.router.access.bodies import await_body
from runtime.router.access.refusals import not_admin
from runtime.router.carrying.bereft import Bereft
from runtime.router.choosing.epochs import RouteTable
from runtime.router.choosing.health import ReplicaHealth
from runtime.router.choosing.queues import Queues
from runtime.router.engines.upstream import Upstream
from runtime.router.settings import RouterSettings
from runtime.router.surface import openapi
from runtime.router.surface.errors import SERVER_ERROR, error_response
from runtime.router.watching.observed import Observed
from runtime.router.watching.usage import UsageBook

LONGEST_WAIT_S = 30.0
LOOK_EVERY_S = 0.05


class Endpoints:
    """Handlers over the router's state. Administration needs the bearer token, and is refused where there is none."""

    def __init__(
        self,
        table: RouteTable,
        health: ReplicaHealth,
        upstream: Upstream,
        admission: Admission,
        bereft: Bereft,
        queues: Queues,
        *,
        observed: Observed,
        metrics: RouterMetrics,
        usage: UsageBook,
        settings: RouterSettings,
        admin_token: str | None,
    ) -> None:
        self._table = table
        self._health = health
        self._upstream = upstream
        self._admission = admission
        self._bereft = bereft
        self._queues = queues
        self._observed = observed
        self._metrics = metrics
        self._usage = usage
        self._settings = settings
        self._admin_token = admin_token

    async def models(self, request: web.Request) -> web.Response:
        model = {"id": self._table.current.routes.model, "object": "model", "created": 0, "owned_by": "thunderctl"}
        return web.json_response({"object": "list", "data": [model]})

    async def health(self, request: web.Request) -> web.Response:
        """Well while at least one replica that decodes is up, until the router is told to stop."""
        replicas = self._table.current.replicas.values()
        up = {replica.id: self._health.is_up(replica.id) for replica in replicas}
        serving = any(up[replica.id] for replica in replicas if replica.phase.decodes)
        status = "stopping" if self._admission.is_closed else "ok" if serving else "unavailable"
        document = {"status": status, "epoch": self._table.current.number, "replicas": up}
        return web.json_response(document, status=200 if status == "ok" else 503)

    async def metrics(self, request: web.Request) -> web.Response:
        self._metrics.epoch.set(self._table.current.number)
        self._metrics.admitted.set(self._admission.in_flight)
        self._metrics.queued.set(self._admission.queued)
        self._metrics.bereft.set(self._bereft.waiting)
        self._metrics.admission_limit.set(self._admission.limit)
        self._gauge_replicas(self._upstream.in_flight())
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def embeddings(self, request: web.Request) -> web.Response:
        message = "This endpoint serves completions; embeddings are not implemented."
        return error_response(501, message, code="not_implemented")

    async def openapi(self, request: web.Request) -> web.Response:
        """What it serves, for machines."""
        return web.json_response(openapi.document())

    async def kept_nowhere(self, request: web.Request) -> web.Response:
        """A response that was given before: an engine's memory of it would be lost with the engine."""
        message = "This router keeps no responses. Send the whole conversation as input."
        return error_response(404, message, code="not_found")

    async def unknown(self, request: web.Request) -> web.Response:
        if methods := openapi.methods_of(request.path):
            allowed = ", ".join(methods)
            message = f"{request.path} takes {allowed}; this was {request.method}."
            return error_response(405, message, code="method_not_allowed", headers={"Allow": allowed})
        return error_response(404, f"Unknown request: {request.method} {request.path}.", code="not_found")

    async def put_routes(self, request: web.Request) -> web.Response:
        """Put another epoch in force. 409 for one that is over."""
        if refusal := self._unauthorised(request) or await await_body(request, self._settings):
            return refusal
        try:
            document = json.loads(await request.read())
            if not isinstance(document, dict):
                raise SpecError("Routes are not a JSON object.")
            self._table.replace(document)
        except (ValueError, RecursionError) as error:
            return error_response(400, f"Routes are not JSON: {error}.")
        except SpecError as error:
            return error_response(400, error.message)
        except Refused as error:
            return error_response(409, error.message, code="epoch_is_over")
        except OSError as error:
            message = f"Routes can't be written: {error.strerror}. Those in force stay."
            return error_response(507, message, kind=SERVER_ERROR, code="not_written")
        self._admission.open()
        return web.json_response({"epoch": self._table.current.number})

    async def put_closed(self, request: web.Request) -> web.Response:
        """Let no new request in until other routes are put in force; those under way go on."""
        if refusal := self._unauthorised(request):
            return refusal
        self._admission.close()
        return web.json_response({"closed": True})

    async def get_observed(self, request: web.Request) -> web.Response:
        """The window of traffic, or its last `window_s`, and every replica as the router sees it."""
        if refusal := self._unauthorised(request):
            return refusal
        try:
            window_s = float(request.query["window_s"]) if "window_s" in request.query else None
        except ValueError:
            window_s = -1.0
        if window_s is not None and not window_s > 0:
            return error_response(400, "Expected ?window_s= as a number of seconds above 0.")
        return web.json_response(self._observation(window_s))

    async def get_drained(self, request: web.Request) -> web.Response:
        """How many requests `replica` still has: as soon as it has none, else after `wait_s` (30 at most)."""
        if refusal := self._unauthorised(request):
            return refusal
        try:
            replica, wait_s = request.query["replica"], float(request.query.get("wait_s", LONGEST_WAIT_S))
        except (KeyError, ValueError):
            replica, wait_s = "", -1.0
        if not wait_s >= 0:
            return error_response(400, "Expected ?replica=ID, and wait_s as a number of seconds from 0 on.")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(wait_s, LONGEST_WAIT_S)):
                while self._in_flight_at().get(replica):
                    await asyncio.sleep(LOOK_EVERY_S)
        return web.json_response({"replica": replica, "in_flight": self._in_flight_at().get(replica, 0)})

    async def get_usage(self, request: web.Request) -> web.Response:
        """What each client key has used, by its id."""
        return self._unauthorised(request) or web.json_response(self._usage.to_json())

    def _gauge_replicas(self, in_flight: Counter[str]) -> None:
        """Of replicas that are gone nothing is said, but for legs that are still under way there."""
        for gauge in (self._metrics.up, self._metrics.in_flight, self._metrics.beyond):
            gauge.clear()
        for replica in self._table.current.replicas:
            self._metrics.up.labels(replica).set(self._health.is_up(replica))
            self._metrics.beyond.labels(replica).set(self._table.load.beyond.get(replica, 0))
        for replica in {*self._table.current.replicas, *in_flight}:
            self._metrics.in_flight.labels(replica).set(in_flight[replica])

    def _observation(self, window_s: float | None) -> dict[str, Any]:
        current, in_flight = self._table.current, self._upstream.in_flight()
        replicas = [
            {
                "id": replica.id,
                "phase": replica.phase,
                "healthy": self._health.is_up(replica.id),
                "reason": self._health.reason(replica.id),
                "in_flight": in_flight[replica.id],
                "queue": self._queue(replica.id),
            }
            for replica in current.replicas.values()
        ]
        counts = {"in_flight": self._table.in_flight(), "in_flight_at": self._in_flight_at()}
        admission = {"admitted": self._admission.in_flight, "queued": self._admission.queued}
        admission |= {"admission_limit": self._admission.limit, "closed": self._admission.is_closed}
        admission |= {"bereft": self._bereft.waiting}
        return {
            "epoch": current.number,
            **counts,
            **admission,
            "replicas": replicas,
            **self._observed.summary(window_s),
        }

    def _queue(self, replica: str) -> dict[str, int] | None:
        """As its engine says, if it said so of late: who runs and waits, and how many of them others sent."""
        queue = self._queues.of(replica)
        return asdict(queue) | {"beyond": self._table.load.beyond.get(replica, 0)} if queue else None

    def _in_flight_at(self) -> dict[str, int]:
        """Requests that replicas have or are to get, under whichever epoch they began."""
        return dict(self._upstream.in_flight() | self._table.load.requests)

    def _unauthorised(self, request: web.Request) -> web.Response | None:
        if self._admin_token is None:
            return error_response(403, "This router was started without an admin token.", code="no_admin_token")
        said = request.headers.get("Authorization", "")
        if hmac.compare_digest(said.encode(errors="replace"), f"Bearer {self._admin_token}".encode()):
            return None
        return not_admin()
