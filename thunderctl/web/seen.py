"""`Seen`: all that the page shows at one moment, and how it is gathered from whoever knows the deployment."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from thunderctl.api.series import KEPT_S
from thunderctl.api.shared import Shared
from thunderctl.api.source import Source

EVENTS = 60
MOST_KEPT = 16
"""Drawings of one moment: who looks may ask for a part of it, in words of their own."""
PLANS_FRESH_S = 2.0
"""Every plan's document is read for the history."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """Events and plans are the newest first."""

    status: Document
    points: Sequence[Document]
    events: Sequence[Document]
    plans: Sequence[Document]


@dataclass(frozen=True, slots=True)
class Kept:
    """What was drawn of one moment."""

    seen: Seen | None
    texts: dict[Hashable, str] = field(default_factory=dict)


@dataclass(slots=True)
class Sight:
    """Gathers what is seen. What is drawn of it is kept until something else is seen, for all who look."""

    source: Source
    _plans: Shared[dict[str, Any]] = field(init=False)
    _kept: Kept = field(default_factory=lambda: Kept(None))

    def __post_init__(self) -> None:
        self._plans = Shared(self.source.history, PLANS_FRESH_S)

    async def look(self) -> Seen:
        """Raises ThunderError where it can't be read now."""
        status = await self.source.status()
        events = (await self.source.events(limit=EVENTS))["events"]
        plans = (await self._plans.get())["plans"]
        return Seen(status, self.source.series(KEPT_S)["points"], events[::-1], plans)

    def drawn(self, seen: Seen, key: Hashable, draw: Callable[[Seen], str]) -> str:
        """What `draw` makes of it, kept for each key. Threads may ask at once; one of them is kept."""
        kept = self._kept
        if kept.seen != seen:
            kept = self._kept = Kept(seen)
        if key in kept.texts:
            return kept.texts[key]
        text = draw(seen)
        if len(kept.texts) < MOST_KEPT:
            kept.texts[key] = text
        return text
