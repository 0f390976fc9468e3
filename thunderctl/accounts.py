"""One deployment's spending, read again and again: leases that are over are read once, as they change no more.

One that was lost may turn up and live again: then it may cost, and is read again. All are, now and then.
"""

import time
from dataclasses import dataclass, field

from provisioners.leases.journal import LeaseRow
from thunderctl.spending import DOWN, Spending
from thunderctl.store.store import Store

WHOLE_EVERY_S = 600.0
OVERLAP_S = 60.0
"""Clocks of commands and controllers that end leases differ by less, or are seen at the next reading of all."""


@dataclass(slots=True)
class Accounts:
    """Asked by one thread at a time."""

    deployment: str
    _rows: dict[str, LeaseRow] = field(default_factory=dict)
    _read_at: float = 0.0
    _whole_at: float = 0.0

    def read(self, store: Store, now: float | None = None) -> Spending:
        """As `spending_of` does."""
        at = time.time() if now is None else now
        if not 0 <= at - self._whole_at < WHOLE_EVERY_S or at < self._read_at:
            self._rows, self._whole_at, since = {}, at, None
        else:
            since = self._read_at - OVERLAP_S
        self._rows |= {row.lease_id: row for row in store.leases(self.deployment, ended_since=since)}
        self._read_at = at
        rows = tuple(sorted(self._rows.values(), key=lambda row: (row.created_at, row.lease_id)))
        down_at = store.last_event_at(self.deployment, DOWN) or 0.0
        return Spending(rows, store.transfers(self.deployment), at, down_at)
