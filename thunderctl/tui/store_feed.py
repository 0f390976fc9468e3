"""The deployment as the store and its machines say; the series is of what was read since the screen was opened.

What was before that a controller of this host remembers, where there is one.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence

from planner.errors import ThunderError
from thunderctl.api.client import Api
from thunderctl.api.series import Ring
from thunderctl.secrets import Secret
from thunderctl.status.documents.events import entry
from thunderctl.status.status_reading import read_status
from thunderctl.tui.frame import Document
from thunderctl.world import World

EVENTS = 200
READS = 3600
"""An hour of them."""


class StoreFeed:
    def __init__(self, world: World, now: Callable[[], float] = time.time) -> None:
        self._world = world
        self._ring = Ring(now, deque(maxlen=READS))
        self._controller = ""
        self._before: Sequence[Document] | None = None

    async def status(self) -> Document:
        found = await read_status(self._world)
        self._controller = found["controller"].get("api") or ""
        self._ring.add(found)
        return found

    async def events(self) -> Sequence[Document]:
        return [entry(event) for event in self._world.store.events(self._world.name, limit=EVENTS)]

    async def series(self, seconds: float) -> Sequence[Document]:
        if self._before is None and self._controller:
            self._before = await self._remembered(seconds)
        mine = self._ring.since(seconds)
        first = mine[0]["at"] if mine else self._ring.now()
        return [*(point for point in self._before or () if point["at"] < first), *mine]

    async def _remembered(self, seconds: float) -> Sequence[Document]:
        """By the controller; nothing where it lets nobody read without its token, or does not answer."""
        try:
            api = Api(self._controller, Secret(""))
            points: Sequence[Document] = (await api.asked("GET", "/api/v1/series", query={"seconds": seconds}))[
                "points"
            ]
        except ThunderError:
            return ()
        return points
