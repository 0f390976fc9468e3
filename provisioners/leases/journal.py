"""The lease record, its states, and what the protocol asks of whoever keeps it.

A row is one attempt to rent one machine. It is committed before the provider is asked, so at any moment, after any
crash, the rows whose state may cost name every machine that is being paid for.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, Self

from planner.errors import Incomplete
from provisioners.leases.transfers import TransferReading


class LeaseState(StrEnum):
    """Where a lease is in its life; planned → sent → created → ready → draining → deleting → gone."""

    PLANNED = "planned"
    """In the plan; nothing was asked."""
    SENT = "sent"
    """Committed; the request may have left."""
    CREATED = "created"
    """The provider's id is known."""
    READY = "ready"
    """It booted, and its identity is proven."""
    DRAINING = "draining"
    """Finishing requests."""
    DELETING = "deleting"
    """Release wanted, not proven."""
    GONE = "gone"
    """Two complete listings lacked it, after it had existed."""
    LOST = "lost"
    """Refused, or two complete listings lacked it; it lives again if it ever appears."""

    @property
    def may_cost(self) -> bool:
        return self not in (LeaseState.PLANNED, LeaseState.GONE, LeaseState.LOST)

    @property
    def runs(self) -> bool:
        """The machine is known to exist and is wanted."""
        return self in (LeaseState.CREATED, LeaseState.READY, LeaseState.DRAINING)


class Cause(StrEnum):
    """What a machine that is ready and of use drains for. It is kept where that holds no longer."""

    TIME = "time"
    MONEY = "money"
    DOWN = "down"
    REST = "rest"


LEADS_TO: dict[LeaseState, frozenset[LeaseState]] = {
    LeaseState.PLANNED: frozenset({LeaseState.SENT}),
    LeaseState.SENT: frozenset({LeaseState.CREATED, LeaseState.LOST}),
    LeaseState.CREATED: frozenset({LeaseState.READY, LeaseState.DRAINING, LeaseState.DELETING, LeaseState.GONE}),
    LeaseState.READY: frozenset({LeaseState.DRAINING, LeaseState.DELETING, LeaseState.GONE}),
    LeaseState.DRAINING: frozenset({LeaseState.READY, LeaseState.DELETING, LeaseState.GONE}),
    LeaseState.DELETING: frozenset({LeaseState.GONE}),
    LeaseState.GONE: frozenset({LeaseState.DELETING}),
    LeaseState.LOST: frozenset({LeaseState.CREATED}),
}
"""The legal moves. GONE and LOST are left when a machine appears after all."""


REFUSED = "; release refused: "
"""In the reason of a lease, before the words with which its provider did not take the last ask to release it."""


UNSEEN = "two listings lacked it, and were empty"
"""The reason of an intent that no listing which showed anything lacked: an endpoint may have been withdrawn."""
LATE_S = 86_400.0
"""For so long after a create was asked for, a machine that nobody counts on is still looked for."""


def usd(amount: float) -> Decimal:
    """A float as the shortest decimal that means it, so that what is written as 0.1 is a tenth."""
    return Decimal(repr(float(amount)))


@dataclass(frozen=True, slots=True)
class Price:
    """What a machine costs from a moment on (seconds since the epoch)."""

    since: float
    usd_per_hour: Decimal


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """One attempt to rent one machine. Times are seconds since the epoch.

    `lease_id` is a UUID of version 7, unique to the attempt. `instance` is the plan's instance id. `live_usd_per_hour`
    is the provider's last word on the price, `prices` all that it said. `attempts` counts how often release was asked.
    `reason` says why it is in its state. `account` is whom the provider bills; empty: nobody, or stored before it was
    asked for. `drained_for` is what a machine that was ready, and is of use, is draining for: where that
    holds no longer it may be ready again.
    """

    lease_id: str
    owner_id: str
    deployment: str
    plan_id: str
    instance: str
    provider: str
    region: str
    offer_id: str
    label: str
    quoted_usd_per_hour: float
    state: LeaseState
    created_at: float
    sent_at: float | None = None
    ended_at: float | None = None
    expires_at: float | None = None
    provider_id: str = ""
    live_usd_per_hour: float | None = None
    attempts: int = 0
    reason: str = ""
    prices: tuple[Price, ...] = ()
    account: str = ""
    drained_for: Cause | None = None

    @property
    def release_taken(self) -> bool:
        """Whether the last ask to release it was taken by the provider, as far as is known."""
        return self.attempts > 0 and REFUSED not in self.reason

    @property
    def is_unseen(self) -> bool:
        """Whether it was given up though nothing but empty listings lacked it: it may be there, and bill."""
        return self.state is LeaseState.LOST and self.reason == UNSEEN

    @property
    def usd_per_hour(self) -> float:
        """What it costs while it may cost: the live price, else the quote."""
        return self.quoted_usd_per_hour if self.live_usd_per_hour is None else self.live_usd_per_hour

    def moved(self, state: LeaseState, *, reason: str = "", ended_at: float | None = None) -> Self:
        """The row in another state. A move that the life of a lease does not have is a ValueError."""
        if state not in LEADS_TO[self.state]:
            raise ValueError(f"Lease {self.lease_id} can't go from {self.state} to {state}.")
        return replace(self, state=state, reason=reason, ended_at=ended_at, drained_for=None)

    def forgotten(self, by: str, now: float) -> Self:
        """The row ended on somebody's word, with no proof; it lives again if it ever appears."""
        state = LeaseState.LOST if self.state in (LeaseState.SENT, LeaseState.LOST) else LeaseState.GONE
        return replace(self, state=state, reason=f"forgotten by {by}", ended_at=now, drained_for=None)

    def repriced(self, usd_per_hour: float, now: float) -> Self:
        """The row at the price that its provider says it has now; the first price holds from the request on."""
        began_at = self.created_at if self.sent_at is None else self.sent_at
        known = self.prices
        if not known and self.live_usd_per_hour is not None:  # stored before prices were kept
            known = (Price(began_at, usd(self.live_usd_per_hour)),)
        if not known or known[-1].usd_per_hour != usd(usd_per_hour):
            known = (*known, Price(now if known else began_at, usd(usd_per_hour)))
        if known == self.prices and usd_per_hour == self.live_usd_per_hour:
            return self
        return replace(self, live_usd_per_hour=usd_per_hour, prices=known)


class Journal(Protocol):
    """Where lease rows are kept. A write is durable (on the disk, not in a cache) when the call returns."""

    def leases(self, deployment: str | None = None) -> tuple[LeaseRow, ...]:
        """Every row, oldest first, the ended ones too; of one deployment if named."""

    def add_lease(self, row: LeaseRow) -> None:
        """Commit a new row."""

    def update_lease(self, row: LeaseRow, *, was: LeaseState) -> None:
        """Commit a changed row. Raises Incomplete, and writes nothing, when the stored row's state is not `was`."""

    def transfers(self, deployment: str | None = None) -> tuple[TransferReading, ...]:
        """What was measured to have moved between machines; of one deployment if named."""


def stale(lease_id: str, found: str, was: LeaseState) -> Incomplete:
    """The error of `update_lease` when somebody else moved the row first."""
    return Incomplete(
        f"Lease {lease_id} is {found} in the store; expected {was}: something else changed it meanwhile.",
        hint="Run the command again: it goes on from what the store says.",
    )
