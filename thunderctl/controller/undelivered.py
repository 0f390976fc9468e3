"""Renewed certificates that their machines don't have yet, and for how long: after a day somebody should know."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from provisioners.leases.journal import LeaseRow
from thunderctl.controller.credentials import UNSENT

LONG_S = 86_400.0
"""Of a month: what fails for an hour is tried again, and mostly mends itself."""
LOOK_EVERY_S = 60.0


@dataclass(slots=True)
class Undelivered:
    """Of one deployment, whose agents' credentials lie below `folder`. Looked up once a minute."""

    folder: Path
    clock: Callable[[], float] = time.time
    _known: Mapping[str, float] = field(default_factory=dict)
    _looked_at: float | None = None

    def long(self, rows: Iterable[LeaseRow]) -> Mapping[str, float]:
        """Since when the certificate of each of these machines waits, by lease; those that wait for long."""
        now = self.clock()
        if self._looked_at is None or not 0 <= now - self._looked_at < LOOK_EVERY_S:
            since = ((row.lease_id, self._since(row)) for row in rows if row.state.runs)
            self._known = {one: at for one, at in since if at is not None and now - at > LONG_S}
            self._looked_at = now
        return self._known

    def _since(self, row: LeaseRow) -> float | None:
        try:
            return (self.folder / row.lease_id / UNSENT).stat().st_mtime
        except OSError:
            return None
