"""Asks every replica that may have requests for its health, all the time: what brings an ejected one back."""

import asyncio
import logging
from collections.abc import Callable

from runtime.messages import ReplicaAddress
from runtime.router.choosing.epochs import RouteTable, same_place
from runtime.router.choosing.health import ReplicaHealth
from runtime.router.engines.upstream import Upstream
from runtime.router.settings import RouterSettings

log = logging.getLogger(__name__)


class Prober:
    """Probes on a beat, each replica on its own, so that one that hangs delays no other.

    `is_waited_for`: whether requests wait for any replica that may decode them.
    """

    def __init__(
        self,
        table: RouteTable,
        upstream: Upstream,
        health: ReplicaHealth,
        settings: RouterSettings,
        is_waited_for: Callable[[], bool],
    ) -> None:
        self._table = table
        self._upstream = upstream
        self._health = health
        self._settings = settings
        self._is_waited_for = is_waited_for
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._known: dict[str, ReplicaAddress] = table.watched()

    async def run(self) -> None:
        """Probe until cancelled."""
        try:
            while True:
                self.beat()
                await asyncio.sleep(
                    max(self._settings.probe_every_s, len(self._known) / self._settings.most_probes_per_s)
                )
        finally:
            for task in self._under_way.values():
                task.cancel()
            await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def beat(self) -> None:
        """Start a probe of each replica that has none under way and may be probed; let go of old connections."""
        self._upstream.tidy(self._table.addresses())
        self._under_way = {key: task for key, task in self._under_way.items() if not task.done()}
        before, self._known = self._known, self._table.watched()
        self._health.keep(  # what was known of a replica at another address is void
            name for name, replica in self._known.items() if name in before and same_place(before[name], replica)
        )
        for name, replica in self._known.items():
            if name not in self._under_way and self._health.due(name, waited_for=self._is_waited_for()):
                self._under_way[name] = asyncio.create_task(self.probe(name, replica))

    async def probe(self, name: str, replica: ReplicaAddress) -> None:
        """Ask one replica, and believe what it says. Where nobody answers, it may be this host that is cut off."""
        was_up, any_was_up = self._health.is_up(name), self._any_is_up()
        wrong = await self._upstream.probe(replica)
        there = self._table.watched().get(name)
        if there is None or not same_place(there, replica):
            return
        if wrong:
            self._health.failed(name, wrong)
            if not was_up and any_was_up and self._any_is_up():  # the second in a row: what waits would wait in vain
                self._upstream.cut(replica, silent_s=self._settings.probe_timeout_s)
        else:
            self._health.answered(name, waited_for=self._is_waited_for())
        if was_up != self._health.is_up(name):
            log.warning("replica %s is %s%s", name, "out: " if wrong else "back", wrong)

    def _any_is_up(self) -> bool:
        return any(map(self._health.is_up, self._known))
