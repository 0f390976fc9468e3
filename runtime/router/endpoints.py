"""The router's endpoints beside completions: models, health, metrics, administration, and what it doesn't serve."""

import hmac
import json
from typing import Any

from planner.errors import Refused, SpecError
from runtime.metrics import CONTENT_TYPE, RouterMetrics
from runtime.router import openapi, web
from runtime.router.admission import Admission
from runtime.router.bodies import await_body
from runtime.router.epochs import RouteTable
from runtime.router.errors import SERVER_ERROR, error_response
from runtime.router.health import ReplicaHealth
from runtime.router.observed import Observed
from runtime.router.refusals import not_admin
from runtime.router.settings import RouterSettings
from runtime.router.upstream import Upstream
from runtime.router.usage import UsageBook


class Endpoints:
    """Handlers over the router's state. Administration needs the bearer token, and is refused where there is none."""

    def __init__(
        self,
        table: RouteTable,
        health: ReplicaHealth,
        upstream: Upstream,
        admission: Admission,
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
        in_flight = self._upstream.in_flight()
        self._metrics.epoch.set(self._table.current.number)
        self._metrics.admitted.set(self._admission.in_flight)
        self._metrics.queued.set(self._admission.queued)
        self._metrics.admission_limit.set(self._admission.limit)
        for replica in self._table.current.replicas:
            self._metrics.up.labels(replica).set(self._health.is_up(replica))
            self._metrics.in_flight.labels(replica).set(in_flight[replica])
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
        return web.json_response({"epoch": self._table.current.number})

    async def get_observed(self, request: web.Request) -> web.Response:
        """The window of traffic, and every replica as the router sees it."""
        if refusal := self._unauthorised(request):
            return refusal
        return web.json_response(self._observation())

    async def get_usage(self, request: web.Request) -> web.Response:
        """What each client key has used, by its id."""
        return self._unauthorised(request) or web.json_response(self._usage.to_json())

    def _observation(self) -> dict[str, Any]:
        current, in_flight = self._table.current, self._upstream.in_flight()
        replicas = [
            {
                "id": replica.id,
                "phase": replica.phase,
                "healthy": self._health.is_up(replica.id),
                "reason": self._health.reason(replica.id),
                "in_flight": in_flight[replica.id],
            }
            for replica in current.replicas.values()
        ]
        counts = {"in_flight": self._table.in_flight(), "in_flight_at": dict(in_flight | self._table.load.requests)}
        admission = {"admitted": self._admission.in_flight, "queued": self._admission.queued}
        admission["admission_limit"] = self._admission.limit
        return {"epoch": current.number, **counts, **admission, "replicas": replicas, **self._observed.summary()}

    def _unauthorised(self, request: web.Request) -> web.Response | None:
        if self._admin_token is None:
            return error_response(403, "This router was started without an admin token.", code="no_admin_token")
        said = request.headers.get("Authorization", "")
        if hmac.compare_digest(said.encode(errors="replace"), f"Bearer {self._admin_token}".encode()):
            return None
        return not_admin()
