"""What may be read: documents of the deployment, the API's description, and /metrics."""

import re
from collections.abc import Iterable

from aiohttp import web

from runtime.metrics import CONTENT_TYPE
from thunderctl.api import openapi
from thunderctl.api.asked import ID_PATTERN
from thunderctl.api.handlers import number, public, whole
from thunderctl.api.metrics import deployment_metrics
from thunderctl.api.numbers import Numbers
from thunderctl.api.refusals import Refusal
from thunderctl.api.series import KEPT_S
from thunderctl.api.source import Source

MOST_EVENTS = 1000
MOST_KINDS = 20
PLAN_ID = re.compile(ID_PATTERN)
KIND = re.compile("[a-z_.]{1,80}")
LAST_ID = 2**63 - 1
LAST_SECOND = 4e9


class Reading:
    """Handlers over a source."""

    def __init__(self, source: Source, numbers: Numbers) -> None:
        self._source = source
        self._numbers = numbers

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.get("/api/v1/status", self.status),
            web.get("/api/v1/plan", self.plan),
            web.get("/api/v1/plans/{plan_id}", self.plan),
            web.get("/api/v1/leases", self.leases),
            web.get("/api/v1/events", self.events),
            web.get("/api/v1/history", self.history),
            web.get("/api/v1/series", self.series),
            web.get("/api/v1/openapi.json", self.openapi),
            web.get("/metrics", self.metrics),
        ]

    async def status(self, _: web.Request) -> web.Response:
        return web.json_response(await self._source.status())

    async def plan(self, request: web.Request) -> web.Response:
        try:
            return web.json_response(await self._source.plan(_plan_id(request)))
        except LookupError as error:
            raise Refusal(404, "NotFound", str(error.args[0]), "See: /api/v1/history") from error

    async def leases(self, _: web.Request) -> web.Response:
        return web.json_response(await self._source.leases())

    async def events(self, request: web.Request) -> web.Response:
        after = whole(request, "after", 0, LAST_ID) if "after" in request.query else None
        kinds = request.query.getall("kind", [])
        if len(kinds) > MOST_KINDS or not all(KIND.fullmatch(one) for one in kinds):
            raise Refusal(400, "SpecError", "kind is none of an event; expected such as step.lease, 20 at most.")
        found = await self._source.events(
            after_id=after,
            since=number(request, "since", 0.0, LAST_SECOND),
            kinds=kinds,
            limit=whole(request, "limit", 100, MOST_EVENTS),
        )
        return web.json_response(found)

    async def history(self, _: web.Request) -> web.Response:
        return web.json_response(await self._source.history())

    async def series(self, request: web.Request) -> web.Response:
        return web.json_response(self._source.series(number(request, "seconds", KEPT_S, KEPT_S)))

    async def metrics(self, _: web.Request) -> web.Response:
        said = deployment_metrics(await self._source.status()) + self._numbers.text()
        return web.Response(body=said, headers={"Content-Type": CONTENT_TYPE})

    @public
    async def openapi(self, _: web.Request) -> web.Response:
        return web.json_response(openapi.document())


def _plan_id(request: web.Request) -> str:
    """Empty where the path names none. Raises LookupError for what can be none."""
    named = request.match_info.get("plan_id")
    if named is not None and not PLAN_ID.fullmatch(named):
        raise LookupError("There is no plan of such an id.")
    return named or ""
