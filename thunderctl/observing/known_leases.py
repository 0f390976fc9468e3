"""One deployment's leases, read again and again: those that are over are read once, as they change no more.

One that was lost may turn up and live again: then it may cost, and is read again. All are, now and then, and whenever
one that ran is no longer among those that run or ended of late: it ended by a clock that is far off. What is
said of one that was lost, and whose account it is, may be a few minutes old.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.transfers import TransferReading
from thunderctl.store.store import Store

LATELY_S = 86_400.0
"""A machine that turns up after its lease was given up mostly does so sooner."""
WHOLE_EVERY_S = 600.0
OVERLAP_S = 60.0
"""Clocks of commands and controllers that end leases differ by less, or are seen at the next reading of all."""


@dataclass(frozen=True, slots=True)
class Leased:
    """All leases that a deployment ever had, oldest first; those of them that may cost; and the last of each instance.

    Of two readings between which nothing has changed it is the same object: what was worked out of it holds.
    """

    rows: tuple[LeaseRow, ...] = ()
    costing: tuple[LeaseRow, ...] = ()
    last: Mapping[str, LeaseRow] = field(default_factory=dict)

    def ended_since(self, at: float) -> tuple[LeaseRow, ...]:
        """Those that are over, and were not yet then."""
        return tuple(row for row in self.rows if not row.state.may_cost and (row.ended_at or row.created_at) >= at)


@dataclass(slots=True)
class KnownLeases:
    """Asked by one thread at a time."""

    deployment: str
    _rows: dict[str, LeaseRow] = field(default_factory=dict)
    _known: Leased = field(default_factory=Leased)
    _read_at: float = 0.0
    _whole_at: float = 0.0

    def read(self, store: Store, at: float) -> Leased:
        """As the store has them now; `at` is the time by the clock of whoever ends leases."""
        is_whole = not 0 <= at - self._whole_at < WHOLE_EVERY_S or at < self._read_at
        rows = None if is_whole else self._with_fresh(store)
        if rows is None:
            rows, self._whole_at = {row.lease_id: row for row in store.leases(self.deployment)}, at
        self._read_at = at
        if rows != self._rows:
            self._rows, self._known = rows, _leased(rows)
        return self._known

    def _with_fresh(self, store: Store) -> dict[str, LeaseRow] | None:
        """What is known, with what may have changed; None where that leaves out what became of some."""
        since = self._read_at - OVERLAP_S
        fresh = {row.lease_id: row for row in store.leases(self.deployment, ended_since=since)}
        unseen = any(row.ended_at is None and name not in fresh for name, row in self._rows.items())
        return None if unseen else {**self._rows, **fresh}


def _leased(known: Mapping[str, LeaseRow]) -> Leased:
    rows = tuple(sorted(known.values(), key=lambda row: (row.created_at, row.lease_id)))
    costing = tuple(row for row in rows if row.state.may_cost)
    return Leased(rows, costing, {row.instance: row for row in rows})


@dataclass(slots=True)
class Costing:
    """The journal of a store, of those leases alone that may cost: for who has nothing to do with what is over."""

    store: Store

    def leases(self, deployment: str | None = None) -> tuple[LeaseRow, ...]:
        return self.store.leases(deployment, ended_since=inf)

    def add_lease(self, row: LeaseRow) -> None:
        self.store.add_lease(row)

    def update_lease(self, row: LeaseRow, *, was: LeaseState) -> None:
        self.store.update_lease(row, was=was)

    def transfers(self, deployment: str | None = None) -> tuple[TransferReading, ...]:
        return self.store.transfers(deployment)


@dataclass(slots=True)
class Looking(Costing):
    """The same, with those that ended lately, which a listing may show again. Now and then it is all: any may turn up.

    `now` is the time by the clock of whoever ends leases.
    """

    now: Callable[[], float]
    _whole_at: float | None = None

    def leases(self, deployment: str | None = None) -> tuple[LeaseRow, ...]:
        at = self.now()
        if self._whole_at is None or not 0 <= at - self._whole_at < WHOLE_EVERY_S:
            self._whole_at = at
            return self.store.leases(deployment)
        return self.store.leases(deployment, ended_since=at - LATELY_S)
