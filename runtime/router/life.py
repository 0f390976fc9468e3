"""What runs beside the router's requests, and what is seen off after them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from runtime.router.access.admission import Admission
from runtime.router.carrying.proxy import Proxy
from runtime.router.choosing.prober import Prober
from runtime.router.choosing.queue_reader import QueueReader
from runtime.router.engines.upstream import Upstream
from runtime.router.watching.access_log import AccessLog
from runtime.router.watching.usage import UsageBook

if TYPE_CHECKING:
    from runtime.router.watching.traces import Telemetry

SAVE_USAGE_EVERY_S = 30.0
AGAIN_S = 1.0

Endless = Callable[[], Coroutine[Any, Any, None]]
"""What runs until it is cancelled."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Life:
    """From the first request to the last errand."""

    upstream: Upstream
    admission: Admission
    proxy: Proxy
    usage: UsageBook
    watchers: Sequence[Prober | QueueReader]
    access_log: AccessLog | None
    telemetry: "Telemetry | None"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        endless: list[Endless] = [partial(_save_usage, self.usage), *(watcher.run for watcher in self.watchers)]
        async with self.upstream, _beside(*map(_kept_up, endless)):
            yield
        self.usage.save()
        if self.access_log is not None:
            self.access_log.flush()
        if self.telemetry is not None:
            await asyncio.to_thread(self.telemetry.close)

    async def drain(self) -> None:
        self.admission.stop()
        await self.proxy.stop()


@contextlib.asynccontextmanager
async def _beside(*endless: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these until the block ends."""
    tasks = [asyncio.create_task(work) for work in endless]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _kept_up(work: Endless) -> None:
    """Without probes no replica would ever come back: what goes wrong unforeseen is said, and begun anew."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("what runs beside the requests failed")
        await asyncio.sleep(AGAIN_S)


async def _save_usage(usage: UsageBook) -> None:
    while True:
        await asyncio.sleep(SAVE_USAGE_EVERY_S)
        usage.save()
