"""What the API and the controller around it count, as Prometheus series that last as long as the process."""

import time

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from thunderctl.api.handlers import Handler

TICK_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Numbers:
    """Counters, in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.ticks = Histogram(
            "thunder_tick_seconds", "The controller's ticks.", registry=registry, buckets=TICK_BUCKETS_S
        )
        self.flips = Counter("thunder_flips", "Replicas whose phase was changed, as was seen.", registry=registry)
        self.audits = Counter(
            "thunder_audits", "Changes asked for over the API.", ("action", "outcome"), registry=registry
        )
        self.connections = Gauge("thunder_api_connections", "Connections to the API.", registry=registry)
        self.live = Gauge("thunder_api_live_readers", "Who follows /api/v1/live.", registry=registry)
        self.dropped = Counter("thunder_api_dropped_readers", "Of them, too slow and let go.", registry=registry)
        self._requests = Counter(
            "thunder_api_requests", "Requests to the API by route and status.", ("route", "status"), registry=registry
        )
        self._started = Gauge("thunder_controller_started_seconds", "When this process began.", registry=registry)
        self._started.set(time.time())

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count every request under the route that it meant, of which there are few."""
        answer = await handler(request)
        resource = request.match_info.route.resource
        self._requests.labels(resource.canonical if resource else "unknown", str(answer.status)).inc()
        return answer

    def text(self) -> bytes:
        return generate_latest(self._registry)
