"""Every change that was asked for, as an event: who, from where, what, and what came of it.

Who is refused is written down too, but so often only that nobody can fill the store by knocking: what came in between
is counted, and said with the next.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from planner.errors import ThunderError
from thunderctl.api.asked import Asked
from thunderctl.api.auth import Caller
from thunderctl.api.numbers import Numbers
from thunderctl.api.source import Source

REFUSED_EVERY_S = 60.0
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Audit:
    source: Source
    numbers: Numbers
    now: Callable[[], float] = time.monotonic
    _refused_at: float = -REFUSED_EVERY_S
    _unsaid: int = 0

    async def change(self, caller: Caller, asked: Asked, outcome: str, *, text: str = "") -> None:
        """Write it down. Raises ThunderError where that can't be: then nothing is to be done."""
        who = {"who": caller.name, "address": caller.address, "via": caller.via, "action": asked.action}
        message = f"{caller}: {asked.said} {outcome}{f': {text}' if text else ''}"
        await self.source.record(message, {**who, "asked": asked.model_dump(exclude_none=True), "outcome": outcome})
        self.numbers.audits.labels(asked.action, outcome).inc()

    async def ended(self, caller: Caller, asked: Asked, outcome: str, *, text: str) -> None:
        """Write down what came of it; a store that can't be written to is only logged, as it is done."""
        try:
            await self.change(caller, asked, outcome, text=text)
        except ThunderError as error:
            log.error("%s: %s %s is not written down: %s", caller, asked.said, outcome, error.message)

    async def refused(self, address: str, asked: str, why: str) -> None:
        """Write it down if the last one was a while ago; a store that can't be written to is only logged."""
        self.numbers.audits.labels("any", "refused").inc()
        if self.now() - self._refused_at < REFUSED_EVERY_S:
            self._unsaid += 1
            return
        self._refused_at, unsaid, self._unsaid = self.now(), self._unsaid, 0
        before = f" ({unsaid} more were refused before it)" if unsaid else ""
        detail = {"who": "", "address": address, "action": asked, "outcome": "refused", "unsaid": unsaid}
        try:
            await self.source.record(f"somebody at {address}: {asked} refused: {why}{before}", detail)
        except ThunderError as error:
            log.warning("a refused change is not written down: %s", error.message)
