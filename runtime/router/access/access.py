"""What stands before every request: who asks, whether there is room, how long it may take; and its account afterwards.

The order is that of cost: a key is looked at before the limits, limits before the queue. Where that has no room nothing
of a body is read; else a request has a place in it, or among those let in, only once its body is here.
"""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from runtime.listening import is_loopback
from runtime.metrics import RouterMetrics
from runtime.router import web
from runtime.router.access.admission import Admission, Shed
from runtime.router.access.asked import read_asked
from runtime.router.access.bodies import BodyRoom
from runtime.router.access.keys import ApiKey, KeyRing
from runtime.router.access.limits import KeyLimits
from runtime.router.access.refusals import late, no_room, not_admin, too_large, too_many, unauthorised
from runtime.router.carrying.exchange import CLIENT, RECORD, REQUEST_ID, TRACE, request_id
from runtime.router.settings import RouterSettings
from runtime.router.surface.apis import APIS
from runtime.router.surface.errors import error_response, in_dialect
from runtime.router.watching.access_log import AccessLog, log_entry
from runtime.router.watching.observed import Observed, RequestRecord
from runtime.router.watching.usage import UsageBook

if TYPE_CHECKING:
    from runtime.router.watching.traces import Telemetry

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

OPEN = frozenset({"/health"})
ADMIN = "/admin/"
METRICS = "/metrics"
API_KEY = "x-api-key"
DEADLINE = "X-Request-Deadline-S"
"""A client's own deadline in seconds; it may only shorten the router's."""
CLIENT_GONE = 499
"""The status in the log of a request whose client did not wait for one (nginx's)."""
LIMITS = web.RequestKey("limits", KeyLimits)
RESPONSE = web.RequestKey("response", web.StreamResponse)


class Access:
    """The middleware of the router's application.

    Administration has its own token, `/health` none. Metrics are the administration's too: they name keys.
    """

    def __init__(
        self,
        keys: KeyRing,
        admission: Admission,
        *,
        observed: Observed,
        metrics: RouterMetrics,
        usage: UsageBook,
        settings: RouterSettings,
        admin_token: str | None = None,
        access_log: AccessLog | None = None,
        telemetry: "Telemetry | None" = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._admission = admission
        self._observed = observed
        self._metrics = metrics
        self._usage = usage
        self._settings = settings
        self._bodies = BodyRoom(settings.max_bodies_bytes)
        self._admin = f"Bearer {admin_token}" if admin_token else ""
        self._log = access_log
        self._telemetry = telemetry
        self._now = now
        self._limits: dict[str, KeyLimits] = {}

    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Ask for a key where keys are required, and let what engines are asked in one by one."""
        return in_dialect(await self._handled(request, handler), request.path)

    async def _handled(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path
        if path in OPEN or path.startswith(ADMIN):
            return await handler(request)
        said = _credentials(request)
        key = self._keys.holder(said)  # which also looks whether there are keys by now
        if path == METRICS:
            return await handler(request) if self._may_read_metrics(request, said) else not_admin()
        if key is None and self._keys.required:
            return unauthorised(said)
        if path in APIS and request.method == "POST":
            return await self._asked(request, handler, key)
        return await handler(request)

    def head(self, request: web.Request, response: web.StreamResponse) -> None:
        """Say under which id a request is known, and what its key may still ask."""
        record, limits = request.get(RECORD), request.get(LIMITS)
        if record is not None:
            request[RESPONSE] = response
            response.headers.setdefault(REQUEST_ID, record.request_id)
        if limits is not None:
            response.headers.update(limits.headers())

    async def _asked(self, request: web.Request, handler: Handler, key: ApiKey | None) -> web.StreamResponse:
        record = RequestRecord(self._now(), request_id=request_id(request), key=key.name if key else "")
        request[RECORD] = record
        if self._telemetry is not None:
            request[TRACE] = self._telemetry.begin(request.path, request.headers)
        status, at = CLIENT_GONE, time.time()
        try:
            response = await self._limited(request, handler, record, key)
            status = response.status
            return response
        finally:
            record.outcome = record.outcome or "failed"
            self._metrics.finished(record)
            if key is not None:
                self._charge(key, record, at)
            if self._log is not None:
                seconds = self._now() - record.arrived_at
                self._log.write(log_entry(record, path=request.path, status=status, at=at, seconds=seconds))
            if self._telemetry is not None:
                request[TRACE].end(record, status)

    async def _limited(
        self, request: web.Request, handler: Handler, record: RequestRecord, key: ApiKey | None
    ) -> web.StreamResponse:
        if key is not None:
            limits = request[LIMITS] = self._limits_of(key)
            if reached := limits.ask():
                record.outcome = "limited"
                return too_many(reached)
        try:
            deadline_s = _deadline_s(request, self._settings.deadline_s)
        except ValueError:
            record.outcome = "refused"
            return error_response(400, f"{DEADLINE} is no number of seconds above 0.")
        observed = self._observed if APIS[request.path].generates else None
        if observed is not None:
            observed.arrived(record)
        try:
            return await self._in_time(request, handler, record, deadline_s)
        finally:
            record.outcome = record.outcome or "failed"
            if observed is not None:
                observed.finished(record)

    async def _in_time(
        self, request: web.Request, handler: Handler, record: RequestRecord, deadline_s: float
    ) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None, "handlers run in tasks"
        timer = asyncio.get_running_loop().call_later(deadline_s, _give_up, task, record)
        try:
            return await self._admitted(request, handler, record)
        except asyncio.CancelledError:
            record.outcome = record.outcome or "cancelled"
            if record.outcome != "late" or task.uncancel():
                raise  # the client has gone
            return late(request, request.get(RESPONSE), deadline_s)
        finally:
            timer.cancel()

    async def _admitted(self, request: web.Request, handler: Handler, record: RequestRecord) -> web.StreamResponse:
        try:
            self._admission.check(record.key)
            with self._bodies.held(request) as part:
                refusal = await read_asked(request, self._settings)
                part.check()
                refusal = refusal or self._weighed(request)
                if refusal is None:
                    return await self._let_in(request, handler, record)
                record.outcome = record.outcome or "refused"
                return refusal
        except Shed as shed:
            record.outcome = "shed"
            return no_room(shed)

    async def _let_in(self, request: web.Request, handler: Handler, record: RequestRecord) -> web.StreamResponse:
        """Wait for a place, and keep it until all is answered. Raises Shed."""
        asked_at, sequences = self._now(), request[CLIENT].sequences
        record.streamed = request[CLIENT].streamed
        await self._admission.enter(record.key, sequences)
        try:
            record.queued_s = self._now() - asked_at
            if self._telemetry is not None:
                request[TRACE].queued(record.queued_s)
            return await handler(request)
        finally:
            self._admission.leave(sequences)

    def _weighed(self, request: web.Request) -> web.Response | None:
        """The refusal of what is more at once than there will ever be room for, or than its key may ask now."""
        sequences, limits = request[CLIENT].sequences, request.get(LIMITS)
        if sequences > self._admission.places:
            return too_large(sequences, f"there are places for {self._admission.places}")
        if limits is None or sequences == 1:
            return None
        if (most := limits.most_requests) is not None and sequences > most:
            return too_large(sequences, f"its key may ask {most} a minute")
        if reached := limits.ask(sequences - 1):  # one was taken when it came
            request[RECORD].outcome = "limited"
            return too_many(reached)
        return None

    def _limits_of(self, key: ApiKey) -> KeyLimits:
        if key.id not in self._limits:
            self._limits[key.id] = KeyLimits(key.requests_per_minute, key.tokens_per_minute, self._now)
        return self._limits[key.id]

    def _charge(self, key: ApiKey, record: RequestRecord, at: float) -> None:
        self._limits_of(key).spend((record.prompt_tokens or 0) + (record.output_tokens or 0))
        self._usage.count(key.id, record, at)
        self._metrics.charged(record)

    def _may_read_metrics(self, request: web.Request, said: str) -> bool:
        """The administration; without keys whoever asks from this machine."""
        return self._is_admin(said) or (not self._keys.required and is_loopback(request.remote or ""))

    def _is_admin(self, said: str) -> bool:
        return bool(self._admin) and hmac.compare_digest(said.encode(errors="replace"), self._admin.encode())


def _credentials(request: web.Request) -> str:
    """What an `Authorization` header would say; Anthropic's clients have a header of their own for keys."""
    said, key = request.headers.get("Authorization", ""), request.headers.get(API_KEY, "")
    return said or (f"Bearer {key}" if key else "")


def _deadline_s(request: web.Request, most_s: float) -> float:
    """Raises ValueError."""
    said = request.headers.get(DEADLINE)
    if said is None:
        return most_s
    seconds = float(said)
    if not seconds > 0:
        raise ValueError(said)
    return min(seconds, most_s)


def _give_up(task: "asyncio.Task[object]", record: RequestRecord) -> None:
    """Its time is up; one whose outcome is known has its answer, and is only being seen off."""
    if not record.outcome:
        record.outcome = "late"
        task.cancel()
