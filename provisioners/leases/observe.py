"""What a provider has, against what the journal says: adopt, reprice, and end what is proven gone.

The provider is listed first and the journal read after, so that a machine leased in between is never taken for a stray.
Presence is believed from any listing; absence only from complete ones, twice, a settle time apart. A listing that is
empty while leases run proves nothing: endpoints have been withdrawn that way.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from provisioners.base import Label, Listing, Machine, Provisioner
from provisioners.crash import crash_point
from provisioners.leases.journal import Journal, LeaseRow, LeaseState


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait for a provider, in seconds: `[leases]` of the spec, and the clocks that tests replace.

    `settle_s` is between the two listings that prove absence, `poll_s` between looks, and `patience_s` until a command
    gives up waiting (None: never). `clock` measures durations, `now` is the time of day.
    """

    settle_s: float = 90.0
    poll_s: float = 5.0
    patience_s: float | None = 600.0
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(slots=True)
class Absences:
    """Which leases complete listings lacked, and since when on the `clock`. Lives as long as one command."""

    settle_s: float
    since: dict[str, float] = field(default_factory=dict)

    def proven(self, lease_id: str, at: float) -> bool:
        """Note that the listing begun `at` lacked it; True when one begun `settle_s` earlier or more lacked it too."""
        if lease_id not in self.since:
            self.since[lease_id] = at
            return False
        return at - self.since[lease_id] >= self.settle_s

    def forget(self, lease_id: str) -> None:
        self.since.pop(lease_id, None)


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look found. `rows` are those looked for, as they now stand in the journal.

    `strays` bear our owner id and have no row. `distrust` says why the listing proved nothing; empty when it counts.
    """

    rows: tuple[LeaseRow, ...]
    machines: tuple[Machine, ...]
    strays: tuple[Machine, ...]
    distrust: str = ""


async def look(
    journal: Journal,
    provisioner: Provisioner,
    absences: Absences,
    lease_ids: Collection[str] | None = None,
    *,
    owner_id: str,
    deployment: str,
    pace: Pace,
) -> Sight:
    """List once and bring these rows of the deployment up to date (None: all of its rows at this provider).

    The caller holds the deployment's lock, and has no `acquire` of these rows under way: a request in flight would look
    lost. Several looks at once do no harm.
    """
    at = pace.clock()
    listing = await provisioner.observe()
    rows = tuple(row for row in journal.leases() if row.provider == provisioner.provider)
    distrust = why_not_trusted(listing, rows)
    found = matched(listing.machines, rows)
    after = []
    for row in rows:
        if row.deployment != deployment or (lease_ids is not None and row.lease_id not in lease_ids):
            continue
        if row.lease_id in found:
            absences.forget(row.lease_id)
            after.append(_commit(journal, row, _seen(row, found[row.lease_id])))
        elif row.state.may_cost and not distrust and absences.proven(row.lease_id, at):
            after.append(_commit(journal, row, _ended(row, pace.now())))
        else:
            after.append(row)
    return Sight(tuple(after), listing.machines, strays(listing.machines, rows, owner_id), distrust)


def why_not_trusted(listing: Listing, rows: Iterable[LeaseRow]) -> str:
    """Why a listing proves no absence; empty when it does. `rows` are all of the provider, of every deployment."""
    if not listing.complete:
        return listing.reason or "the listing is not complete"
    running = sum(row.state.runs for row in rows)
    return f"the listing is empty while {running} leases run" if running and not listing.machines else ""


def matched(machines: Sequence[Machine], rows: Iterable[LeaseRow]) -> dict[str, Machine]:
    """Lease id → its machine: by the provider's id once that is known, until then by label (the first of several)."""
    by_id = {machine.provider_id: machine for machine in machines}
    by_label = {machine.label: machine for machine in reversed(machines)}
    found = {row.lease_id: by_id.get(row.provider_id) if row.provider_id else by_label.get(row.label) for row in rows}
    return {lease_id: machine for lease_id, machine in found.items() if machine is not None}


def strays(machines: Sequence[Machine], rows: Sequence[LeaseRow], owner_id: str) -> tuple[Machine, ...]:
    """Machines that bear our owner id and that no row stands for: to be reported, never touched unasked."""
    known = {machine.provider_id for machine in matched(machines, rows).values()}
    return tuple(
        machine
        for machine in machines
        if machine.provider_id not in known
        and (label := Label.parse(machine.label)) is not None
        and label.owner_id == owner_id
    )


def _seen(row: LeaseRow, machine: Machine) -> LeaseRow:
    priced = replace(row, provider_id=machine.provider_id, live_usd_per_hour=machine.usd_per_hour)
    match row.state:
        case LeaseState.SENT | LeaseState.LOST:
            return priced.moved(LeaseState.CREATED, reason="found by listing")
        case LeaseState.GONE:
            return priced.moved(LeaseState.DELETING, reason="listed again after it was gone")
        case _:
            return priced


def _ended(row: LeaseRow, now: float) -> LeaseRow:
    match row.state:
        case LeaseState.SENT:
            return row.moved(LeaseState.LOST, reason="two complete listings lacked it", ended_at=now)
        case LeaseState.DELETING:
            return row.moved(LeaseState.GONE, reason=row.reason, ended_at=now)
        case _:
            return row.moved(LeaseState.GONE, reason="the provider no longer lists it", ended_at=now)


def _commit(journal: Journal, before: LeaseRow, after: LeaseRow) -> LeaseRow:
    if after != before:
        if after.state is LeaseState.GONE:
            crash_point("C7")
        journal.update_lease(after, was=before.state)
    return after
