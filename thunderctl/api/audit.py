"""Every change that was asked for, as an event: who, from where, what, and what came of it.

Who is refused is written down too, but so often only that nobody can fill the store by knocking: what came in between
is counted, and said with the next.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from planner.errors import ThunderError
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

    async def change(
        self, caller: Caller, action: str, outcome: str, asked: Mapping[str, Any], *, text: str = ""
    ) -> None:
        """Write it down. Raises ThunderError where that can't be: then nothing is to be done."""
        detail = {"who": caller.name, "address": caller.address, "via": caller.via, "action": action}
        message = f"{caller}: {action} {outcome}{f': {text}' if text else ''}"
        await self.source.record(message, {**detail, "asked": dict(asked), "outcome": outcome})
        self.numbers.audits.labels(action, outcome).inc()

    async def ended(self, caller: Caller, action: str, outcome: str, asked: Mapping[str, Any], *, text: str) -> None:
        """Write down what came of it; a store that can't be written to is only logged, as it is done."""
        try:
            await self.change(caller, action, outcome, asked, text=text)
        except ThunderError as error:
            log.error("%s: %s %s is not written down: %s", caller, action, outcome, error.message)

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
