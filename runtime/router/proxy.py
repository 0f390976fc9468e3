"""A completion request's way through a route: prefill leg, decode leg, and what is tried when one fails.

Before the first byte every failure is hidden: another prefill replica, then local prefill; another decode replica with
the same ticket. After it the stream ends in an error event, never in silence. A client that goes away takes both legs
with it: the handler is cancelled, which closes the connection to the engine, and the ticket is dropped.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web

from runtime.metrics import RouterMetrics
from runtime.router.epochs import RouteTable
from runtime.router.errors import SERVICE_UNAVAILABLE, error_event, error_response
from runtime.router.events import EventStream
from runtime.router.exchange import REQUEST_ID, Answered, ClientGone, Exchange, leg_headers
from runtime.router.health import ReplicaHealth
from runtime.router.legs import (
    MalformedRequest,
    decode_body,
    prefill_body,
    read_prefill_answer,
    read_request,
    read_usage,
    without_transfer,
)
from runtime.router.observed import Observed, RequestRecord
from runtime.router.policy import Choice
from runtime.router.settings import RouterSettings
from runtime.router.upstream import Leg, ReplicaFailed, Upstream

log = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"


class Proxy:
    """Carries `/v1/chat/completions` and `/v1/completions`."""

    def __init__(
        self,
        table: RouteTable,
        upstream: Upstream,
        health: ReplicaHealth,
        *,
        observed: Observed,
        metrics: RouterMetrics,
        settings: RouterSettings,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._upstream = upstream
        self._health = health
        self._observed = observed
        self._metrics = metrics
        self._settings = settings
        self._now = now
        self._errands: set[asyncio.Task[None]] = set()
        self._carrying: set[asyncio.Task[Any]] = set()
        self._stopping = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whatever happens to the legs."""
        record = RequestRecord(self._now())
        self._observed.arrived(record.arrived_at)
        try:
            if not request.headers.get("Content-Type", "").startswith("application/json"):
                record.outcome = "refused"  # as vLLM does; it also keeps other sites' pages from posting here
                return error_response(415, "The Content-Type must be application/json.")
            client = read_request(await request.read())
            exchange = Exchange(self._table.current, request, client, record, leg_headers(request))
            return await self._carried(exchange)
        except web.HTTPRequestEntityTooLarge:
            record.outcome = "refused"
            return error_response(413, f"The body is larger than {self._settings.max_body_bytes} bytes.")
        except MalformedRequest as error:
            record.outcome = "refused"
            return error_response(400, f"The body can't be read: {error}.")
        except asyncio.CancelledError:
            record.outcome = "cancelled"
            raise
        finally:
            self._finish(record)

    async def stop(self) -> None:
        """Let requests finish within the grace, end the others with an error, and see errands (dropped tickets) off."""
        self._stopping = True
        if self._carrying:
            await asyncio.wait(self._carrying, timeout=self._settings.stop_grace_s)
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)
        await asyncio.gather(*self._errands)

    async def _carried(self, exchange: Exchange) -> web.StreamResponse:
        exchange.epoch.in_flight += 1
        task = asyncio.current_task()
        assert task is not None, "handlers run in tasks"
        self._carrying.add(task)
        try:
            return await self._decoded(exchange, await self._prefilled(exchange))
        except Answered as answered:
            exchange.record.outcome = "refused"
            return answered.response
        except ClientGone as gone:
            exchange.record.outcome = "cancelled"
            self._drop_ticket(exchange)
            return gone.response
        except asyncio.CancelledError:
            self._drop_ticket(exchange)
            if not self._stopping:
                raise
            return await self._cut_off(exchange)
        finally:
            self._carrying.discard(task)
            exchange.epoch.in_flight -= 1
            exchange.ended(self._now())

    async def _prefilled(self, exchange: Exchange) -> Choice:
        """Run the prefill leg on one replica after another, until one gave its answer or none is left."""
        failed: frozenset[str] = frozenset()
        while True:
            choice = exchange.epoch.policy.choose(self._health.is_up, local=exchange.client.needs_local, without=failed)
            if choice.prefill is None:
                return choice
            exchange.record.prefill = choice.prefill
            try:
                await self._prefill_leg(exchange, choice.prefill, choice)
            except ReplicaFailed as failure:
                self._note(failure, "prefill")
                exchange.record.prefill = None
                failed |= {choice.prefill}
            else:
                return choice

    async def _prefill_leg(self, exchange: Exchange, prefill: str, choice: Choice) -> None:
        body = prefill_body(exchange.client, choice.codec)
        limit_s, started_at = self._settings.prefill_s, self._now()
        async with self._leg(exchange, prefill, body, limit_s) as answer:
            content = await answer.read(limit_s)
            if answer.status >= 400:
                raise Answered(_passed(answer, content, exchange))
        try:
            exchange.ticket, exchange.record.prompt_tokens = read_prefill_answer(content)
        except ValueError as error:
            raise ReplicaFailed(prefill, f"gave no prefill answer: {error}", unreachable=False) from error
        exchange.record.prefill_s = self._now() - started_at

    async def _decoded(self, exchange: Exchange, choice: Choice) -> web.StreamResponse:
        tried: frozenset[str] = frozenset()
        decode: str | None = choice.decode
        while decode is not None:
            exchange.record.decode, exchange.record.phase = decode, exchange.epoch.replicas[decode].phase
            try:
                return await self._decode_leg(exchange, decode)
            except ReplicaFailed as failure:
                self._note(failure, "decode")
                if exchange.response is not None:
                    self._drop_ticket(exchange)
                    return await self._broken_off(exchange, exchange.response, failure)
                tried |= {decode}
                decode = exchange.epoch.policy.other_decode(self._health.is_up, choice.prefill, tried)
        self._drop_ticket(exchange)
        exchange.record.outcome = "unavailable"
        message = f"No decode replica could answer; tried {', '.join(sorted(tried))}."
        return error_response(503, message, kind=SERVICE_UNAVAILABLE, headers={"Retry-After": "1"})

    async def _decode_leg(self, exchange: Exchange, decode: str) -> web.StreamResponse:
        body = decode_body(exchange.client, exchange.ticket)
        exchange.events = EventStream()  # an earlier attempt may have left half an event
        async with self._leg(exchange, decode, body, self._settings.first_byte_s) as answer:
            if answer.headers.get("content-type", "").startswith(EVENT_STREAM):
                return await self._streamed(exchange, answer)
            content = await answer.read(self._settings.first_byte_s)
            if answer.status >= 400:
                self._drop_ticket(exchange)
                raise Answered(_passed(answer, content, exchange))
            exchange.answered_with(read_usage(content))
            exchange.record.outcome = "ok"
            return _passed(answer, without_transfer(content), exchange)

    async def _streamed(self, exchange: Exchange, answer: Leg) -> web.StreamResponse:
        events = exchange.events
        patience_s = self._settings.first_byte_s
        while chunk := await answer.chunk(patience_s):
            patience_s = self._settings.idle_s
            counted = events.content_events
            data = events.feed(chunk)
            if events.content_events > counted:
                exchange.saw_content(self._now())
            if data:
                await self._send(exchange, answer, data)
        if rest := events.end():
            await self._send(exchange, answer, rest)
        response = exchange.response
        if not events.done or response is None:
            raise ReplicaFailed(exchange.record.decode, "ended its stream without [DONE]", unreachable=False)
        await _to_client(response, last=True)
        exchange.record.outcome = "failed" if events.says_error else "ok"
        return response

    async def _send(self, exchange: Exchange, answer: Leg, data: bytes) -> None:
        if exchange.response is None:
            headers = {"Content-Type": answer.headers["content-type"], "Cache-Control": "no-cache"}
            exchange.response = web.StreamResponse(headers=headers | _request_id(exchange))
            await exchange.response.prepare(exchange.request)
        await _to_client(exchange.response, data)

    async def _broken_off(
        self, exchange: Exchange, response: web.StreamResponse, failure: ReplicaFailed
    ) -> web.StreamResponse:
        exchange.record.outcome = "interrupted"
        response.force_close()
        await _to_client(response, error_event(f"Replica {failure.replica} failed while it answered."), last=True)
        return response

    async def _cut_off(self, exchange: Exchange) -> web.StreamResponse:
        """What a request gets that a stopping router does not wait for any longer."""
        exchange.record.outcome = "interrupted"
        if exchange.response is None:
            return error_response(
                503, "The router is stopping.", kind=SERVICE_UNAVAILABLE, headers={"Retry-After": "1"}
            )
        try:
            await _to_client(exchange.response, error_event("The router is stopping."), last=True)
        except ClientGone:
            exchange.record.outcome = "cancelled"
        return exchange.response

    def _leg(self, exchange: Exchange, replica_id: str, body: bytes, answer_s: float) -> Leg:
        replica = exchange.epoch.replicas[replica_id]
        return self._upstream.post(replica, exchange.path, body, exchange.headers, answer_s=answer_s)

    def _note(self, failure: ReplicaFailed, leg: str) -> None:
        log.warning("%s leg failed: %s", leg, failure)
        self._metrics.leg_failures.labels(failure.replica, leg).inc()
        if failure.unreachable:
            self._health.failed(failure.replica, failure.reason)

    def _drop_ticket(self, exchange: Exchange) -> None:
        prefill = exchange.epoch.replicas.get(exchange.record.prefill or "")
        if exchange.ticket is not None and prefill is not None and prefill.server_name:
            self._errand(self._upstream.drop(prefill, exchange.ticket))

    def _errand(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    def _finish(self, record: RequestRecord) -> None:
        record.outcome = record.outcome or "failed"
        self._observed.finished(record)
        self._metrics.finished(record)


async def _to_client(response: web.StreamResponse, data: bytes = b"", *, last: bool = False) -> None:
    """Send, and tell the client's connection failing from an engine's."""
    try:
        if data:
            await response.write(data)
        if last:
            await response.write_eof()
    except ConnectionError as error:
        raise ClientGone(response) from error


def _passed(answer: Leg, content: bytes, exchange: Exchange) -> web.Response:
    headers = {"Content-Type": answer.headers.get("content-type", "application/json")} | _request_id(exchange)
    if "retry-after" in answer.headers:
        headers["Retry-After"] = answer.headers["retry-after"]
    return web.Response(status=answer.status, body=content, headers=headers)


def _request_id(exchange: Exchange) -> dict[str, str]:
    return {REQUEST_ID: exchange.headers[REQUEST_ID]}
