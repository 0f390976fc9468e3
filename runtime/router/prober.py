"""Asks every replica of the epoch in force for its health, all the time: what brings an ejected one back."""

import asyncio
import logging

from runtime.messages import ReplicaAddress
from runtime.router.epochs import RouteTable
from runtime.router.health import ReplicaHealth
from runtime.router.settings import RouterSettings
from runtime.router.upstream import Upstream

log = logging.getLogger(__name__)


class Prober:
    """Probes on a beat, each replica on its own, so that one that hangs delays no other."""

    def __init__(self, table: RouteTable, upstream: Upstream, health: ReplicaHealth, settings: RouterSettings) -> None:
        self._table = table
        self._upstream = upstream
        self._health = health
        self._settings = settings
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._known = table.current.replicas

    async def run(self) -> None:
        """Probe until cancelled."""
        try:
            while True:
                self.beat()
                await asyncio.sleep(self._settings.probe_every_s)
        finally:
            for task in self._under_way.values():
                task.cancel()
            await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def beat(self) -> None:
        """Start a probe of each replica that has none under way and may be probed."""
        self._under_way = {key: task for key, task in self._under_way.items() if not task.done()}
        replicas = self._table.current.replicas
        if replicas is not self._known:  # another epoch: what was known of a replica at another address is void
            self._health.keep(name for name, replica in replicas.items() if self._known.get(name) == replica)
            self._known = replicas
        for replica in replicas.values():
            if replica.id not in self._under_way and self._health.due(replica.id):
                self._under_way[replica.id] = asyncio.create_task(self.probe(replica))

    async def probe(self, replica: ReplicaAddress) -> None:
        """Ask one replica, and believe what it says."""
        was_up = self._health.is_up(replica.id)
        wrong = await self._upstream.probe(replica)
        if self._table.current.replicas.get(replica.id) != replica:
            return
        if wrong:
            self._health.failed(replica.id, wrong)
            if not was_up:  # the second in a row: what still waits for it would wait in vain
                self._upstream.cut(replica.id, silent_s=self._settings.probe_timeout_s)
        else:
            self._health.answered(replica.id)
        if was_up != self._health.is_up(replica.id):
            log.warning("replica %s is %s%s", replica.id, "out: " if wrong else "back", wrong)
