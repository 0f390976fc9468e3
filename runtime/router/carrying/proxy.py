"""A completion request's way through a route: prefill leg, decode leg, and what is tried when one fails.

Before the first byte every failure is hidden: another prefill replica, then local prefill; another decode replica with
the same ticket, and where that is of no use to any, prefill once more. After it the stream goes on with another pair,
which gets what was said as part of its prompt; where that would not be exact it ends in an error event, never in
silence. Before it and after, where no decode replica is left, one of the next plan is waited for (`bereft.py`). A
client that goes away takes both legs with it: the handler is cancelled, which closes the connection to the engine, and
the ticket is dropped.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

from planner.deployment import Phase
from runtime.metrics import RouterMetrics
from runtime.router import web
from runtime.router.carrying.answers import (
    ClientStalls,
    break_off,
    cut_off,
    pass_on,
    passed,
    refusal,
    send,
    sent,
    taken,
    to_client,
)
from runtime.router.carrying.asking import Asking
from runtime.router.carrying.bereft import Bereft
from runtime.router.carrying.deadly import spare_others
from runtime.router.carrying.exchange import CLIENT, RECORD, Answered, ClientGone, Exchange, leg_headers
from runtime.router.carrying.prefill import PrefillSide
from runtime.router.carrying.replayer import Replayer
from runtime.router.choosing.epochs import RouteTable
from runtime.router.choosing.health import ReplicaHealth
from runtime.router.choosing.policy import Choice
from runtime.router.engines.leg import Leg, ReplicaFailed
from runtime.router.engines.upstream import Upstream
from runtime.router.legs.bodies import decode_body
from runtime.router.legs.request import MalformedRequest
from runtime.router.legs.transfer import LOST_KV, without_transfer
from runtime.router.legs.usage import read_passed_usage, read_usage
from runtime.router.replay.cut import CannotReplay
from runtime.router.settings import RouterSettings
from runtime.router.surface.apis import APIS
from runtime.router.surface.errors import SERVICE_UNAVAILABLE, error_response

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
        bereft: Bereft,
        *,
        metrics: RouterMetrics,
        settings: RouterSettings,
        retry_after_s: Callable[[], float],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._upstream = upstream
        self._health = health
        self._bereft = bereft
        self._metrics = metrics
        self._settings = settings
        self._now = now
        self._asking = Asking(table, upstream, health, metrics)
        self._prefill = PrefillSide(self._asking, settings=settings, now=now)
        note = partial(self._asking.note, leg="replay")
        self._replayer = Replayer(table, upstream, health, bereft, settings=settings, note=note, now=now)
        self._retry_after_s = retry_after_s
        self._grace: asyncio.Timeout | None = None
        self._carrying: set[asyncio.Task[Any]] = set()
        self._ended: set[asyncio.Task[Any]] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whatever happens to the legs."""
        record, client = request[RECORD], request[CLIENT]
        exchange = Exchange(self._table.current, request, client, record, leg_headers(request, record.request_id))
        try:
            return await self._carried(exchange)
        except MalformedRequest as error:
            record.outcome = "refused"
            return error_response(400, f"The body can't be read: {error}.")

    async def stop(self) -> None:
        """Let requests finish within the grace, end the others with an error, and see errands (dropped tickets) off."""
        if self._carrying:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.stop_grace_s) as self._grace:
                    await asyncio.wait(self._carrying)
            self._grace = None
        self._ended = set(self._carrying)
        for task in self._ended:
            task.cancel()
        if self._carrying:  # those whose client reads nothing are left to their server
            await asyncio.wait(self._carrying, timeout=LAST_WORDS_S)
        await self._asking.stop()

    def hurry(self) -> None:
        """Told to stop once more: the grace is over."""
        if self._grace is not None:
            self._grace.reschedule(asyncio.get_running_loop().time())

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
        except ClientStalls:
            self._asking.drop_ticket(exchange)
            return break_off(exchange, f"Its client took nothing of it for {self._settings.client_idle_s:g} s.")
        except asyncio.CancelledError:
            self._asking.drop_ticket(exchange)
            if task not in self._ended:  # its client is gone, or its time is up
                raise
            return cut_off(exchange)
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
                        if (response := await self._decoded(exchange, choice)) is not None:
                            return response
                    await self._prefill.again(exchange)
                except ReplicaFailed as failure:
                    if not exchange.begun():  # Other decode replicas were tried: it was prefill that broke off.
                        await self._prefill.without(exchange, failure)
                        exchange.failed[failure.replica] = self._now()
                        continue
                    await self._prefill.undo(exchange)
                    self._metrics.moves.labels(failure.replica).inc()
                    if await self._replayer.take_up(exchange, failure.replica):
                        assert exchange.response is not None, "it has begun"
                        return exchange.response
        except CannotReplay as reason:
            self._asking.drop_ticket(exchange)
            failed = f"Replica {exchange.record.decode} failed while it answered"
            return break_off(exchange, f"{failed}, and no other goes on: {reason}.")

    async def _decoded(self, exchange: Exchange, choice: Choice) -> web.StreamResponse | None:
        """Run the decode leg on one replica after another. None: one would, once its prompt is prefilled anew."""
        tried: frozenset[str] = frozenset()
        names: set[str] = set()
        refused = False
        decode: str | None = choice.decode
        while decode is not None:
            exchange.record.decode, exchange.record.phase = decode, exchange.epoch.replicas[decode].phase
            exchange.booking.at(exchange.computing or (None if exchange.ticket else decode), decode)
            try:
                return await self._decode_leg(exchange, decode, self._ticket_for(exchange, choice, decode))
            except ReplicaFailed as failure:
                self._asking.note(exchange, failure, "decode")
                await spare_others(exchange, failure, self._upstream, most=self._settings.deaths)
                if exchange.response is not None:
                    raise
                tried, refused = tried | {decode}, refused or failure.refused
                names.add(decode)
                decode, tried = self._other_decode(exchange, choice, tried)
        if refused and exchange.ticket is not None and not exchange.prefilled_again:
            exchange.prefilled_again = True
            return None
        await self._prefill.undo(exchange)
        exchange.failed |= dict.fromkeys(tried, self._now())
        if not refused and await self._bereft.until_served(exchange):
            return None
        exchange.record.outcome = "unavailable"
        headers = {"Retry-After": f"{self._retry_after_s():.0f}"}
        message = f"No decode replica could answer; tried {', '.join(sorted(names))}{exchange.waited}."
        return error_response(503, message, kind=SERVICE_UNAVAILABLE, headers=headers)

    def _other_decode(
        self, exchange: Exchange, choice: Choice, tried: frozenset[str]
    ) -> tuple[str | None, frozenset[str]]:
        """By the plan it arrived under; where that has nobody left, by the one in force. And who of it was tried."""
        decode = exchange.epoch.policy.other_decode(self._health.is_up, choice.prefill, tried)
        if decode is None and exchange.follow(self._table.current):
            tried = frozenset(filter(exchange.knows, tried))
            decode = exchange.epoch.policy.other_decode(self._health.is_up, choice.prefill, tried)
        return decode, tried

    async def _decode_leg(self, exchange: Exchange, decode: str, ticket: bytes | None) -> web.StreamResponse:
        body = decode_body(exchange.client, ticket)
        exchange.listen()
        # An answer that is not streamed comes whole, so that its time says nothing of the replica.
        limit_s = self._settings.first_byte_s if exchange.client.streamed else self._settings.deadline_s
        async with self._asking.leg(exchange, "decode", decode, body, limit_s) as answer:
            if answer.headers.get("content-type", "").startswith(EVENT_STREAM):
                return await self._streamed(exchange, answer)
            content = await answer.read(limit_s)
            if answer.status >= 400:
                raise refusal(answer, content, exchange)
            if exchange.response is not None:
                raise ReplicaFailed(decode, "answered without a stream", unreachable=False)
            exchange.computed()
            exchange.answered_with(read_usage(content) if APIS[exchange.path].splits else read_passed_usage(content))
            exchange.record.outcome = "ok"
            return sent(passed(answer, exchange.told(without_transfer(content)), exchange), exchange)

    async def _streamed(self, exchange: Exchange, answer: Leg) -> web.StreamResponse:
        events, take = exchange.events, partial(pass_on, exchange, answer, self._now)
        take(await answer.chunk(self._settings.first_byte_s))
        while await answer.pass_on(take, self._settings.idle_s):
            await taken(exchange, self._settings.client_idle_s)
        send(exchange, answer, events.end())
        response = exchange.response
        if not events.done or response is None:
            raise ReplicaFailed(exchange.record.decode, "ended its stream without [DONE]", unreachable=False)
        to_client(response, last=True)
        exchange.record.outcome = "failed" if events.says_error else "ok"
        return response

    def _ticket_for(self, exchange: Exchange, choice: Choice, decode: str) -> bytes | None:
        """The ticket, or what our connector takes for one that should have come.

        Streams that others take up are spared its limit: their clients have read half an answer.
        """
        if exchange.ticket or not choice.awaits_kv or exchange.response is not None:
            return exchange.ticket
        self._metrics.recomputes.labels(decode).inc()
        replica = exchange.epoch.replicas[decode]
        return LOST_KV if replica.phase is Phase.DECODE and replica.server_name else None
