"""Fetches of the same tiles at the same time are one: they cross once, and lie in the pool once.

With more tensor-parallel ranks than KV heads several ranks hold the same head, and each asks for its tiles.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from runtime.relay.pool import Region
from runtime.relay.ticket import Ticket
from runtime.tiles.box import Box


@dataclass(slots=True)
class _Fetch:
    """`readers` wait for it to end, or read what it brought."""

    bringing: "asyncio.Task[Region]"
    readers: int = 0

    @property
    def brought(self) -> Region | None:
        task = self.bringing
        return task.result() if task.done() and not task.cancelled() and not task.exception() else None


class SharedFetches:
    """Those under way, and those whose tiles are still read. `free` takes a region that nobody reads any more."""

    def __init__(self, free: Callable[[Region], None]) -> None:
        self._free = free
        self._fetches: dict[tuple[Ticket, Box], _Fetch] = {}

    async def fetch(self, ticket: Ticket, box: Box, bring: Callable[[], Coroutine[Any, Any, Region]]) -> Region:
        """What the first caller's `bring` brings; every caller releases it. It is cancelled with the last caller."""
        key = ticket, box
        if key not in self._fetches:
            self._fetches[key] = _Fetch(asyncio.create_task(bring()))
        fetch = self._fetches[key]
        fetch.readers += 1
        try:
            return await asyncio.shield(fetch.bringing)
        except BaseException:
            self._leave(key)
            if not fetch.readers:
                await asyncio.wait([fetch.bringing])
            raise

    def release(self, region: Region) -> None:
        """One reader of a fetched region is done."""
        self._leave(next(key for key, fetch in self._fetches.items() if fetch.brought is region))

    def _leave(self, key: tuple[Ticket, Box]) -> None:
        fetch = self._fetches[key]
        fetch.readers -= 1
        if fetch.readers:
            return
        del self._fetches[key]
        fetch.bringing.cancel()
        if region := fetch.brought:
            self._free(region)
