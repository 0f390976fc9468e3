"""A completion request's way through a route: prefill leg, decode leg, and what is tried when one fails.

Before the first byte every failure is hidden: another prefill replica, then local prefill; another decode replica with
the same ticket. After it the stream goes on with another pair, which gets what was said as part of its prompt; where
that would not be exact it ends in an error event, never in silence. A client that goes away takes both legs with it:
the handler is cancelled, which closes the connection to the engine, and the ticket is dropped.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

from planner.deployment import Phase
from runtime.metrics import RouterMetrics
from runtime.router import web
from runtime.router.answers import break_off, cut_off, passed, refusal, send, sent, taken, to_client
from runtime.router.apis import APIS
from runtime.router.asking import Asking
from runtime.router.deadly import spare_others
from runtime.router.epochs import RouteTable
from runtime.router.errors import SERVICE_UNAVAILABLE, error_response
from runtime.router.events import ERROR
from runtime.router.exchange import RECORD, Answered, ClientGone, Exchange, leg_headers
from runtime.router.health import ReplicaHealth
from runtime.router.legs import (
    LOST_KV,
    MalformedRequest,
    decode_body,
    read_passed_usage,
    read_request,
    read_usage,
    without_transfer,
)
from runtime.router.policy import Choice
from runtime.router.prefill_side import PrefillSide
from runtime.router.replay import CannotReplay
from runtime.router.replayer import Replayer
from runtime.router.settings import RouterSettings
from runtime.router.upstream import Leg, ReplicaFailed, Upstream

EVENT_STREAM = "text/event-stream"
LAST_WORDS_S = 1.0
"""How long a request that is ended has to say so to its client."""


class Proxy:
    """Carries what is posted to an engine's APIs (`apis.py`)."""

    def __init__(
        self,
        table: RouteTable,
        upstream: Upstream,
        health: ReplicaHealth,
        *,
        metrics: RouterMetrics,
        settings: RouterSettings,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._upstream = upstream
        self._health = health
        self._metrics = metrics
        self._settings = settings
        self._now = now
        self._asking = Asking(upstream, health, metrics)
        self._prefill = PrefillSide(self._asking, settings=settings, now=now)
        note = partial(self._asking.note, leg="replay")
        self._replayer = Replayer(table, upstream, health, settings=settings, note=note)
        self._carrying: set[asyncio.Task[Any]] = set()
        self._ended: set[asyncio.Task[Any]] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whatever happens to the legs."""
        record = request[RECORD]
        try:
            if request.content_type != "application/json":
                record.outcome = "refused"  # as vLLM does; it also keeps other sites' pages from posting here
                return error_response(415, "The Content-Type must be application/json.")
            client = read_request(await request.read(), APIS[request.path])
            exchange = Exchange(self._table.current, request, client, record, leg_headers(request, record.request_id))
            return await self._carried(exchange)
        except MalformedRequest as error:
            record.outcome = "refused"
            return error_response(400, f"The body can't be read: {error}.")

    async def stop(self) -> None:
        """Let requests finish within the grace, end the others with an error, and see errands (dropped tickets) off."""
        if self._carrying:
            await asyncio.wait(self._carrying, timeout=self._settings.stop_grace_s)
        self._ended = set(self._carrying)
        for task in self._ended:
            task.cancel()
        if self._carrying:  # those whose client reads nothing are left to their server
            await asyncio.wait(self._carrying, timeout=LAST_WORDS_S)
        await self._asking.stop()

    async def _carried(self, exchange: Exchange) -> web.StreamResponse:
        exchange.epoch.in_flight += 1
        task = asyncio.current_task()
        assert task is not None, "handlers run in tasks"
        self._carrying.add(task)
        try:
            return await self._answered(exchange)
        except Answered as answered:
            exchange.record.outcome = exchange.record.outcome or "refused"
            self._asking.drop_ticket(exchange)
            return answered.response
        except ClientGone as gone:
            exchange.record.outcome = "cancelled"
            self._asking.drop_ticket(exchange)
            return gone.response
        except asyncio.CancelledError:
            self._asking.drop_ticket(exchange)
            if task not in self._ended:  # its client is gone, or its time is up
                raise
            return await cut_off(exchange)
        finally:
            self._carrying.discard(task)
            exchange.epoch.in_flight -= 1
            try:
                await self._prefill.end(exchange)
            finally:
                exchange.ended(self._now())

    async def _answered(self, exchange: Exchange) -> web.StreamResponse:
        """Run the legs of a request, and where a stream breaks off those of its rest."""
        try:
            while True:
                try:
                    choice = await self._prefill.choice(exchange)
                    async with exchange.prefilling.awaited(exchange.begun) if exchange.prefilling else nullcontext():
                        return await self._decoded(exchange, choice)
                except ReplicaFailed as failure:
                    if not exchange.begun():  # Other decode replicas were tried: it was prefill that broke off.
                        await self._prefill.without(exchange, failure)
                        exchange.failed |= {failure.replica}
                        continue
                    await self._prefill.end(exchange)
                    self._asking.drop_ticket(exchange)
                    exchange.ticket = None
                    self._metrics.moves.labels(failure.replica).inc()
                    if await self._replayer.take_up(exchange, failure.replica):
                        assert exchange.response is not None, "it has begun"
                        return exchange.response
        except CannotReplay as reason:
            self._asking.drop_ticket(exchange)
            return await break_off(exchange, str(reason))

    async def _decoded(self, exchange: Exchange, choice: Choice) -> web.StreamResponse:
        tried: frozenset[str] = frozenset()
        decode: str | None = choice.decode
        while decode is not None:
            exchange.record.decode, exchange.record.phase = decode, exchange.epoch.replicas[decode].phase
            exchange.booking.at(exchange.computing or (None if exchange.ticket else decode), decode)
            try:
                return await self._decode_leg(exchange, decode, _ticket_for(exchange, choice, decode))
            except ReplicaFailed as failure:
                self._asking.note(failure, "decode")
                await spare_others(exchange, failure, self._upstream, most=self._settings.deaths)
                if exchange.response is not None:
                    raise
                tried |= {decode}
                decode = exchange.epoch.policy.other_decode(self._health.is_up, choice.prefill, tried)
        self._asking.drop_ticket(exchange)
        exchange.record.outcome = "unavailable"
        message = f"No decode replica could answer; tried {', '.join(sorted(tried))}."
        return error_response(503, message, kind=SERVICE_UNAVAILABLE, headers={"Retry-After": "1"})

    async def _decode_leg(self, exchange: Exchange, decode: str, ticket: bytes | None) -> web.StreamResponse:
        body = decode_body(exchange.client, ticket)
        exchange.listen()
        async with self._asking.leg(exchange, "decode", decode, body, self._settings.first_byte_s) as answer:
            if answer.headers.get("content-type", "").startswith(EVENT_STREAM):
                return await self._streamed(exchange, answer)
            content = await answer.read(self._settings.first_byte_s)
            if answer.status >= 400:
                raise refusal(answer, content, exchange)
            if exchange.response is not None:
                raise ReplicaFailed(decode, "answered without a stream", unreachable=False)
            exchange.computed()
            exchange.answered_with(read_usage(content) if APIS[exchange.path].splits else read_passed_usage(content))
            exchange.record.outcome = "ok"
            return await sent(passed(answer, exchange.told(without_transfer(content)), exchange), exchange)

    async def _streamed(self, exchange: Exchange, answer: Leg) -> web.StreamResponse:
        events = exchange.events
        patience_s = self._settings.first_byte_s
        while chunk := await answer.chunk(patience_s):
            patience_s = self._settings.idle_s
            counted = events.content_events
            data = events.feed(chunk)
            if events.content_events > counted:
                exchange.saw_content(self._now())
            if events.breaks_down and not exchange.client.obstacle:
                await send(exchange, answer, data.partition(ERROR)[0])
                raise ReplicaFailed(exchange.record.decode, "reported an error of its own", unreachable=False)
            await send(exchange, answer, data)
            chunk = data = b""  # what a client is slow to take is held once
            await taken(exchange)
        if rest := events.end():
            await send(exchange, answer, rest)
        response = exchange.response
        if not events.done or response is None:
            raise ReplicaFailed(exchange.record.decode, "ended its stream without [DONE]", unreachable=False)
        await to_client(response, last=True)
        exchange.record.outcome = "failed" if events.says_error else "ok"
        return response


def _ticket_for(exchange: Exchange, choice: Choice, decode: str) -> bytes | None:
    """The ticket, or what our connector takes for one that should have come.

    Streams that others take up are spared its limit: their clients have read half an answer.
    """
    replica = exchange.epoch.replicas[decode]
    due = (choice.prefill is not None or choice.bereft) and exchange.response is None
    limited = replica.phase is Phase.DECODE and replica.server_name != ""
    return exchange.ticket or (LOST_KV if due and limited else None)
