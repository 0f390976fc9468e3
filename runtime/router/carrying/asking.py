"""How a leg of a request is asked for, what is noted of one that failed, and how its ticket is dropped."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from runtime.metrics import RouterMetrics
from runtime.router.carrying.exchange import Exchange
from runtime.router.choosing.epochs import RouteTable
from runtime.router.choosing.health import ReplicaHealth
from runtime.router.engines.connection import OnInterim
from runtime.router.engines.leg import Leg, ReplicaFailed
from runtime.router.engines.upstream import Upstream

log = logging.getLogger(__name__)

DECODE = "decode"
"""The leg that the client's answer comes from."""


class Asking:
    """The engines, for every request under way. Errands (dropped tickets) run beside them."""

    def __init__(self, table: RouteTable, upstream: Upstream, health: ReplicaHealth, metrics: RouterMetrics) -> None:
        self.table = table
        self.upstream = upstream
        self.health = health
        self.metrics = metrics
        self._errands: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        """See errands off."""
        await asyncio.gather(*self._errands)

    def leg(
        self,
        exchange: Exchange,
        name: str,
        replica_id: str,
        body: bytes,
        answer_s: float,
        on_interim: OnInterim | None = None,
    ) -> AbstractAsyncContextManager[Leg]:
        """Ask a replica of the exchange's epoch."""
        replica, trace = exchange.epoch.replicas[replica_id], exchange.trace
        exchange.asked[replica_id] = replica
        exchange.asked_at[replica_id] = asyncio.get_running_loop().time()
        sequences = exchange.client.sequences if name == DECODE else 1  # its prompt is prefilled once
        ask = partial(self.upstream.post, replica, exchange.path, body, answer_s=answer_s, on_interim=on_interim)
        ask = partial(ask, sequences=sequences)
        if trace is None:
            return ask(exchange.headers)
        return trace.leg(name, replica_id, lambda headers: ask({**exchange.headers, **headers}))

    def note(self, exchange: Exchange, failure: ReplicaFailed, leg: str) -> None:
        log.warning("%s leg failed: %s", leg, failure)
        self.metrics.leg_failures.labels(failure.replica, leg).inc()
        if failure.unreachable:
            asked = exchange.asked.get(failure.replica)
            name = self.table.health_name(asked) if asked else failure.replica
            self.health.failed(name, failure.reason)

    def drop_ticket(self, exchange: Exchange) -> None:
        """Tell the agent that has its tiles, if there is one."""
        prefill = exchange.asked.get(exchange.record.prefill or "")
        if exchange.ticket is not None and prefill is not None and prefill.server_name:
            self._errand(self.upstream.drop(prefill, exchange.ticket))

    def _errand(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)
