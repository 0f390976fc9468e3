"""Requests that no replica is left to answer: they wait for one of the next plan, or one that comes back."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from runtime.router.carrying.exchange import Exchange
from runtime.router.choosing.epochs import RouteTable
from runtime.router.choosing.health import ReplicaHealth
from runtime.router.engines.upstream import Upstream


class Bereft:
    """The wait of requests whose decode replicas are all down: at most `most` at a time, each for `wait_s` in all.

    They keep the places they were let in to, and who goes on goes on once a replica is there: those begun and those
    that are not alike. While nobody is let in any more (`is_closed`) no other plan is expected, and nobody waits.
    """

    def __init__(
        self,
        table: RouteTable,
        upstream: Upstream,
        health: ReplicaHealth,
        *,
        most: int,
        wait_s: float,
        is_closed: Callable[[], bool],
    ) -> None:
        self._table = table
        self._upstream = upstream
        self._health = health
        self._most = most
        self._wait_s = wait_s
        self._is_closed = is_closed
        self._changed = asyncio.Event()
        self.waiting = 0

    def look(self) -> None:
        """Routes, who is up, or whether anybody is let in has changed: who waits looks again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def until_served(self, exchange: Exchange) -> bool:
        """Wait until a replica that is up and has not failed this request may decode it; whether one does in time.

        The exchange then is of the plan in force. Where a replica that failed it is well nobody waits: another plan
        would give it to the same one.
        """
        if self._is_served(exchange):
            return True
        exchange.booking.end()  # nobody has it
        if not self._may_wait(exchange) or await self._one_is_well(exchange):
            return False
        loop, self.waiting = asyncio.get_running_loop(), self.waiting + 1
        began_at = loop.time()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s - exchange.waited_s):
                    return await self._wait(exchange)
            return False
        finally:
            exchange.waited_s += loop.time() - began_at
            self.waiting -= 1

    async def _wait(self, exchange: Exchange) -> bool:
        while not self._is_served(exchange):
            if not self._is_expected(exchange):
                return False
            await self._changed.wait()
        return True

    def _is_served(self, exchange: Exchange) -> bool:
        exchange.follow(self._table.current)
        exchange.pardon(self._health.came_back)
        return exchange.epoch.policy.decodes(self._health.is_up, exchange.failed)

    def _may_wait(self, exchange: Exchange) -> bool:
        has_time = exchange.waited_s < self._wait_s
        return has_time and self.waiting < self._most and self._is_expected(exchange)

    def _is_expected(self, exchange: Exchange) -> bool:
        """Whether a plan may yet come that has somebody for it."""
        return not self._is_closed() and self._table.current.routes.model == exchange.epoch.routes.model

    async def _one_is_well(self, exchange: Exchange) -> bool:
        """Ask those that failed it and count as up: an engine that dies may have said so to its requests first."""
        there = exchange.epoch.replicas
        failed = [there[one] for one in exchange.failed if one in there and there[one].phase.decodes]
        asked = [replica for replica in failed if self._health.is_up(replica.id)]
        wrong = await asyncio.gather(*map(self._upstream.probe, asked))
        for replica, reason in zip(asked, wrong, strict=True):
            if reason:
                self._health.failed(self._table.health_name(replica), reason)
        return not all(wrong)
