"""Asks the engine of every replica of the epoch in force for its queue, one after another, all the time."""

import asyncio

from runtime.messages import ReplicaAddress
from runtime.router.choosing.epochs import RouteTable
from runtime.router.choosing.health import ReplicaHealth
from runtime.router.choosing.queues import Queues, read_queue
from runtime.router.engines.upstream import Upstream


class QueueReader:
    """Each is asked once in `every_s`, spread over it. One that does not say is not the worse for it: probes decide."""

    def __init__(
        self, table: RouteTable, upstream: Upstream, health: ReplicaHealth, queues: Queues, every_s: float
    ) -> None:
        self._table = table
        self._upstream = upstream
        self._health = health
        self._queues = queues
        self._every_s = every_s
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._known = table.current.replicas

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                replicas = list(self._table.current.replicas.values())
                for replica in replicas:
                    self._beat(replica)
                    await asyncio.sleep(self._every_s / len(replicas))
        finally:
            for task in self._under_way.values():
                task.cancel()
            await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _beat(self, replica: ReplicaAddress) -> None:
        """Ask one that is up and owes no answer; let go of what is over."""
        self._under_way = {key: task for key, task in self._under_way.items() if not task.done()}
        replicas = self._table.current.replicas
        if replicas is not self._known:  # another epoch: what was said at another address is void
            self._queues.keep([name for name, one in replicas.items() if self._known.get(name) == one])
            self._known = replicas
        self._queues.expire()
        if replica.id not in self._under_way and self._health.is_up(replica.id):
            self._under_way[replica.id] = asyncio.create_task(self._ask(replica))

    async def _ask(self, replica: ReplicaAddress) -> None:
        """Of the legs that were there before and after, the more: one that ended meanwhile may be in the answer."""
        before = self._upstream.sequences_at(replica.id)
        metrics = await self._upstream.metrics(replica)
        queue = None if metrics is None else read_queue(metrics)
        if queue is not None and self._table.current.replicas.get(replica.id) == replica:
            self._queues.heard(replica.id, queue, max(before, self._upstream.sequences_at(replica.id)))
