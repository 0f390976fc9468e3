"""The prefill side of a request: a pair is chosen, its prefill leg run, another tried where that fails.

Where an agent says the ticket early, decode begins beside the leg, which may then still fail.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial

from planner.deployment import Codec
from runtime.router.carrying.answers import refusal
from runtime.router.carrying.asking import Asking
from runtime.router.carrying.deadly import spare_others
from runtime.router.carrying.exchange import Exchange
from runtime.router.carrying.prefilling import Prefilling
from runtime.router.choosing.policy import Choice
from runtime.router.engines.connection import OnInterim
from runtime.router.engines.leg import ReplicaFailed
from runtime.router.legs.bodies import prefill_body
from runtime.router.legs.transfer import read_early_ticket, read_prefill_answer
from runtime.router.legs.usage import read_cached
from runtime.router.settings import RouterSettings


class PrefillSide:
    """Gets requests their tickets, by the plan they arrived under while that has replicas left."""

    def __init__(self, asking: Asking, *, settings: RouterSettings, now: Callable[[], float] = time.monotonic) -> None:
        self._asking = asking
        self._settings = settings
        self._now = now

    async def choice(self, exchange: Exchange) -> Choice:
        """Run the prefill leg on one replica after another, until one gave its answer or none is left."""
        failed = set(exchange.failed)
        while True:
            choice = self._by_plan(exchange, failed)
            if self._falls_short(choice, failed) and exchange.follow(self._asking.table.current):
                failed = set(filter(exchange.knows, failed))
                choice = self._by_plan(exchange, failed)
            exchange.booking.at(choice.computing, choice.decode)
            if choice.prefill is None:
                exchange.forget_prefill()  # nor has one whose answer came to nothing
                if choice.bypass:
                    self._asking.metrics.bypasses.labels(choice.decode, choice.bypass).inc()
                return choice
            exchange.record.prefill, exchange.record.codec = choice.prefill, choice.codec
            try:
                await self._ticket_of(exchange, choice.prefill, choice.codec)
            except ReplicaFailed as failure:
                await self.without(exchange, failure)
                failed.add(choice.prefill)
            else:
                return choice

    async def without(self, exchange: Exchange, failure: ReplicaFailed) -> None:
        """A prefill leg has failed, perhaps after its ticket was said."""
        self._asking.note(exchange, failure, "prefill")
        await spare_others(exchange, failure, self._asking.upstream, most=self._settings.deaths)
        self._asking.drop_ticket(exchange)
        exchange.ticket = exchange.prefilling = None
        exchange.forget_prefill()

    async def again(self, exchange: Exchange) -> None:
        """Have the prompt prefilled once more: no decode replica could use the ticket, or none was left to."""
        await self.undo(exchange)
        exchange.forget_prefill()

    async def undo(self, exchange: Exchange) -> None:
        """Nobody comes for what was prefilled."""
        await self.end(exchange)
        self._asking.drop_ticket(exchange)
        exchange.ticket = None

    async def end(self, exchange: Exchange) -> None:
        """Break its prefill leg off, if one goes on: it says no ticket any more."""
        if exchange.prefilling is not None:
            await exchange.prefilling.end()
            exchange.prefilling = None

    def _by_plan(self, exchange: Exchange, failed: set[str]) -> Choice:
        local, prompt = exchange.needs_local, exchange.prompt
        return exchange.epoch.policy.choose(self._asking.health.is_up, prompt, local=local, without=failed)

    def _falls_short(self, choice: Choice, failed: set[str]) -> bool:
        """Whether a plan has nobody left for a part of a request: the plan in force may."""
        return choice.bereft or choice.decode in failed or not self._asking.health.is_up(choice.decode)

    async def _ticket_of(self, exchange: Exchange, prefill: str, codec: Codec) -> None:
        """Run the prefill leg; where an agent can say the ticket earlier, until it is there."""
        if not (self._settings.stream_kv and exchange.epoch.replicas[prefill].server_name):
            await self._prefill_leg(exchange, prefill, prefill_body(exchange.client, codec))
            return
        body = prefill_body(exchange.client, codec, stream_kv=True)
        await self.end(exchange)
        exchange.prefilling = Prefilling(partial(self._early_leg, exchange, prefill, body))
        await exchange.prefilling.until_ticket()

    async def _early_leg(self, exchange: Exchange, prefill: str, body: bytes, told: Callable[[], None]) -> None:
        def heard(headers: Mapping[str, str]) -> None:
            if early := read_early_ticket(headers):
                exchange.ticket, exchange.record.cached_tokens = early
                told()

        try:
            await self._prefill_leg(exchange, prefill, body, heard)
        except ReplicaFailed as failure:
            if exchange.begun():  # Nobody else hears of it.
                self._asking.note(exchange, failure, "prefill")
            raise
        exchange.booking.computed()

    async def _prefill_leg(
        self, exchange: Exchange, prefill: str, body: bytes, on_interim: OnInterim | None = None
    ) -> None:
        limit_s, started_at = self._settings.prefill_s, self._now()
        async with self._asking.leg(exchange, "prefill", prefill, body, limit_s, on_interim) as answer:
            content = await answer.read(limit_s)
            if answer.status >= 400:
                raise refusal(answer, content, exchange)
        try:
            exchange.ticket, prompt_tokens = read_prefill_answer(content)
        except ValueError as error:
            raise ReplicaFailed(prefill, f"gave no prefill answer: {error}", unreachable=False) from error
        if exchange.ticket is None:
            self._asking.metrics.no_ticket.labels(prefill).inc()
        if exchange.continuation is None:
            exchange.record.prompt_tokens = prompt_tokens
            exchange.record.cached_tokens = read_cached(content)
            exchange.record.prefill_s = self._now() - started_at
