"""What stands before every request: who asks, whether there is room, how long it may take; and its account afterwards.

The order is that of cost: a key is looked at before the limits, limits before the queue, and nothing of a body is read
until a request is let in.
"""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from runtime.metrics import RouterMetrics
from runtime.router.access_log import AccessLog, log_entry
from runtime.router.admission import Admission, Shed
from runtime.router.errors import error_response
from runtime.router.exchange import RECORD, REQUEST_ID, request_id
from runtime.router.keys import ApiKey, KeyRing
from runtime.router.limits import KeyLimits
from runtime.router.observed import Observed, RequestRecord
from runtime.router.refusals import late, no_room, too_many, unauthorised
from runtime.router.settings import RouterSettings
from runtime.router.usage import UsageBook

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

COMPLETIONS = frozenset({"/v1/chat/completions", "/v1/completions"})
OPEN = frozenset({"/health"})
ADMIN = "/admin/"
METRICS = "/metrics"
DEADLINE = "X-Request-Deadline-S"
"""A client's own deadline in seconds; it may only shorten the router's."""
CLIENT_GONE = 499
"""The status in the log of a request whose client did not wait for one (nginx's)."""
LIMITS = web.RequestKey("limits", KeyLimits)
RESPONSE = web.RequestKey("response", web.StreamResponse)


class Access:
    """The middleware of the router's application. Administration has its own token, `/health` none."""

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
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._admission = admission
        self._observed = observed
        self._metrics = metrics
        self._usage = usage
        self._settings = settings
        self._admin = f"Bearer {admin_token}" if admin_token else ""
        self._log = access_log
        self._now = now
        self._limits: dict[str, KeyLimits] = {}

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Ask for a key where keys are required, and let completions in one by one."""
        path = request.path
        if path in OPEN or path.startswith(ADMIN):
            return await handler(request)
        said = request.headers.get("Authorization", "")
        key = self._keys.holder(said)
        if key is None and self._keys.required and not (path == METRICS and self._is_admin(said)):
            return unauthorised(said)
        if path in COMPLETIONS and request.method == "POST":
            return await self._completion(request, handler, key)
        return await handler(request)

    async def head(self, request: web.Request, response: web.StreamResponse) -> None:
        """Say under which id a request is known, and what its key may still ask. A signal of the application's."""
        record, limits = request.get(RECORD), request.get(LIMITS)
        if record is not None:
            request[RESPONSE] = response
            response.headers.setdefault(REQUEST_ID, record.request_id)
        if limits is not None:
            response.headers.update(limits.headers())

    async def _completion(self, request: web.Request, handler: Handler, key: ApiKey | None) -> web.StreamResponse:
        record = RequestRecord(self._now(), request_id=request_id(request), key=key.name if key else "")
        request[RECORD] = record
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
        self._observed.arrived(record.arrived_at)
        try:
            return await self._in_time(request, handler, record, deadline_s)
        finally:
            record.outcome = record.outcome or "failed"
            self._observed.finished(record)

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
            return await late(request, request.get(RESPONSE), deadline_s)
        finally:
            timer.cancel()

    async def _admitted(self, request: web.Request, handler: Handler, record: RequestRecord) -> web.StreamResponse:
        try:
            await self._admission.enter(record.key)
        except Shed as shed:
            record.outcome = "shed"
            return no_room(shed)
        try:
            record.queued_s = self._now() - record.arrived_at
            return await self._read(request, record) or await handler(request)
        finally:
            self._admission.leave()

    async def _read(self, request: web.Request, record: RequestRecord) -> web.Response | None:
        """Read the body, which the request keeps. A client that takes too long over it must not hold a place."""
        try:
            async with asyncio.timeout(self._settings.body_s):
                await request.read()
        except web.HTTPRequestEntityTooLarge:
            record.outcome = "refused"
            return error_response(413, f"The body is larger than {self._settings.max_body_bytes} bytes.")
        except TimeoutError:
            record.outcome = "refused"
            return error_response(408, f"The body did not come within {self._settings.body_s:g} s.")
        return None

    def _limits_of(self, key: ApiKey) -> KeyLimits:
        if key.id not in self._limits:
            self._limits[key.id] = KeyLimits(key.requests_per_minute, key.tokens_per_minute, self._now)
        return self._limits[key.id]

    def _charge(self, key: ApiKey, record: RequestRecord, at: float) -> None:
        self._limits_of(key).spend((record.prompt_tokens or 0) + (record.output_tokens or 0))
        self._usage.count(key.id, record, at)
        self._metrics.charged(record)

    def _is_admin(self, said: str) -> bool:
        return bool(self._admin) and hmac.compare_digest(said.encode(errors="replace"), self._admin.encode())


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
    record.outcome = "late"
    task.cancel()
