"""What should rest of a large fleet, worked out in a thread beside the ticks: it takes longer than a tick may."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from thunderctl.controller.sizing.applying import applied
from thunderctl.controller.sizing.policy import sized
from thunderctl.controller.sizing.view import Rules, View
from thunderctl.fleet.resting import Resting

EVERY_S = 1.0
InThread = Callable[..., Awaitable[Any]]


@dataclass(slots=True)
class Beside:
    """At most one look at a time, and one a second. What came of it counts for what is still there of the machines that
    it was about: those that came and went meanwhile throw nothing away. What was decided since does."""

    in_thread: InThread = asyncio.to_thread
    _task: "asyncio.Task[Resting] | None" = None
    _asked: tuple[View, Rules] | None = None
    _known: tuple[View, Rules, Resting] | None = None

    def wanted(self, view: View, rules: Rules) -> Resting | None:
        """What the last look that ended found, for the fleet as it is now, and another look. Raises what that failed
        with. None: no look has ended that says anything of now."""
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            assert self._asked is not None
            self._known = (*self._asked, task.result())
        if self._task is None and self._is_due(view, rules):
            self._asked = (view, rules)
            self._task = asyncio.ensure_future(self._look(view, rules))
        if self._known is None or self._known[1] != rules:
            return None
        asked, _, found = self._known
        return found if _alike(asked, view) else applied(asked, found, view, rules)

    def _is_due(self, view: View, rules: Rules) -> bool:
        """A tick asks more than once, and nothing has changed in between."""
        before = self._asked
        return before is None or before[1] != rules or not _alike(before[0], view) or view.at - before[0].at >= EVERY_S

    async def _look(self, view: View, rules: Rules) -> Resting:
        found: Resting = await self.in_thread(sized, view, rules)
        return found


def _alike(one: View, other: View) -> bool:
    return (one.resting, one.parts) == (other.resting, other.parts)
