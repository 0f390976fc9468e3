"""What a provider has, against what the journal says: adopt, reprice, and end what is proven gone.

The provider is listed first and the journal read after, so that a machine leased in between is never taken for a stray.
Presence is believed from any listing, and that a machine is terminated where a listing names it so; absence only from
complete ones, twice, a settle time apart. A listing that is empty while leases run, or before their release was taken,
proves nothing: endpoints have been withdrawn that way. Nor does that of another account than the lease's, which a key
that was changed leads to. An intent that only empty listings lacked is given up, and counts at the gate all the same
until one shows something.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from planner.errors import ProvisioningError
from provisioners.base import Label, Listing, Machine, Provisioner, Remembers, account_of
from provisioners.crash import crash_point
from provisioners.leases.journal import UNSEEN, Journal, LeaseRow, LeaseState

LACKED = "two complete listings lacked it"
EMPTY = "the listing is empty"
TERMINATED, UNLISTED = "its provider calls it terminated", "the provider no longer lists it"


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
    """Which leases complete listings lacked, and since when on the `clock`. Lives as long as one command.

    Where some lease of the provider `ran` in that time, an intent's absence begins with a listing that shows something:
    once all that ran is released, empty is what is expected, and what an endpoint that was withdrawn would say too.
    `shown_at` is when a listing was begun that showed something.
    """

    settle_s: float
    since: dict[str, float] = field(default_factory=dict)
    ran: bool = False
    shown_at: float | None = None

    def proven(self, lease_id: str, at: float) -> bool:
        """Note that the listing begun `at` lacked it; True when one begun `settle_s` earlier or more lacked it too."""
        if lease_id not in self.since:
            self.since[lease_id] = at
            return False
        return at - self.since[lease_id] >= self.settle_s

    def unseen(self, lease_id: str) -> bool:
        """Whether all listings that lacked it were empty."""
        return self.shown_at is None or self.shown_at < self.since[lease_id]

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
    listing, account = await listed(provisioner)
    rows = tuple(row for row in journal.leases() if row.provider == provisioner.provider)
    wanted = [row for row in rows if row.deployment == deployment and (lease_ids is None or row.lease_id in lease_ids)]
    found = matched(listing.machines, rows)
    same = same_account(rows, found.keys() | {row.lease_id for row in rows if row.provider_id in listing.ended})
    distrust = why_not_trusted(listing, rows) or another_account(account, wanted, same)
    absences.ran |= any(row.state.runs or row.state is LeaseState.DELETING for row in rows)
    if listing.shows_something or provisioner.consistent:
        absences.shown_at = at
    waits = absences.ran and not listing.shows_something
    after = []
    for row in wanted:
        if row.lease_id in found:
            absences.forget(row.lease_id)
            after.append(_commit(journal, row, _billed(seen(row, found[row.lease_id], pace.now()), account)))
        elif row.state.may_cost and row.provider_id in listing.ended:
            after.append(_commit(journal, row, _ended(row, pace.now(), TERMINATED)))
        elif row.state is LeaseState.SENT and row.lease_id not in absences.since and waits:
            after.append(row)
        elif row.state.may_cost and not distrust and absences.proven(row.lease_id, at):
            why = UNSEEN if row.state is LeaseState.SENT and absences.unseen(row.lease_id) else ""
            after.append(_commit(journal, row, _ended(row, pace.now(), why)))
        else:
            after.append(_commit(journal, row, _billed(row, account) if row.account in same else row))
    if absences.shown_at == at and not distrust:
        mine = (row for row in rows if row.deployment == deployment)
        _believe(journal, (row for row in mine if row.is_unseen and row.lease_id not in found))
    _forget(provisioner, (*rows, *after))
    return Sight(tuple(after), listing.machines, strays(listing.machines, rows, owner_id), distrust)


def _believe(journal: Journal, unseen: Iterable[LeaseRow]) -> None:
    """Count no longer on intents that a listing lacks which shows something."""
    for row in unseen:
        _commit(journal, row, replace(row, reason=LACKED))


def _forget(provisioner: Provisioner, rows: Iterable[LeaseRow]) -> None:
    """A host that was asked once, and is there no more, must not make every listing incomplete for ever."""
    if isinstance(provisioner, Remembers):
        for lease_id, row in {row.lease_id: row for row in rows}.items():
            if not row.state.may_cost:
                provisioner.forget(lease_id)


async def listed(provisioner: Provisioner) -> tuple[Listing, str]:
    """The listing, and the account that it is of; it counts as not complete where that can't be asked."""
    listing = await provisioner.observe()
    try:
        return listing, await account_of(provisioner)
    except ProvisioningError as error:
        reason = listing.reason or f"which account it is of is not known: {error.message.rstrip('.')}"
        return replace(listing, complete=False, reason=reason), ""


def why_not_trusted(listing: Listing, rows: Iterable[LeaseRow]) -> str:
    """Why a listing proves no absence; empty when it does. `rows` are all of the provider, of every deployment."""
    if not listing.complete:
        return listing.reason or "the listing is not complete"
    running = sum(row.state.runs or (row.state is LeaseState.DELETING and not row.release_taken) for row in rows)
    return f"{EMPTY} while {running} leases run" if running and not listing.shows_something else ""


def is_empty(distrust: str) -> bool:
    """Whether a listing is not trusted for nothing but that it shows nothing, as it would were all machines gone."""
    return distrust.startswith(EMPTY)


def same_account(rows: Iterable[LeaseRow], found: Collection[str]) -> frozenset[str]:
    """What the account of a listing was called when leases that it shows were made: a mark of a key changes with it."""
    return frozenset(row.account for row in rows if row.lease_id in found and row.account)


def another_account(account: str, rows: Iterable[LeaseRow], same: Collection[str]) -> str:
    """Why a listing of `account` proves nothing of these rows: some are of another. Empty when it does."""
    others = [row for row in rows if row.state.may_cost and row.account and row.account not in (account, *same)]
    if not others or not account:
        return ""
    names, whose = (
        ", ".join(sorted(set(words))) for words in zip(*((_name(r), r.account) for r in others), strict=True)
    )
    return f"this key is of account {account}; the leases of {names} are of account {whose}"


def _name(row: LeaseRow) -> str:
    return row.instance or row.lease_id


def _billed(row: LeaseRow, account: str) -> LeaseRow:
    return row if account in ("", row.account) else replace(row, account=account)


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


def seen(row: LeaseRow, machine: Machine, now: float) -> LeaseRow:
    """The row of a machine that is listed: at its price, and alive again if it was given up."""
    priced = row.repriced(machine.usd_per_hour, now)
    if priced.provider_id != machine.provider_id:
        priced = replace(priced, provider_id=machine.provider_id)
    match row.state:
        case LeaseState.SENT | LeaseState.LOST:
            return priced.moved(LeaseState.CREATED, reason="found by listing")
        case LeaseState.GONE:
            return priced.moved(LeaseState.DELETING, reason="listed again after it was gone")
        case _:
            return priced


def _ended(row: LeaseRow, now: float, why: str = "") -> LeaseRow:
    match row.state:
        case LeaseState.SENT:
            return row.moved(LeaseState.LOST, reason=why or LACKED, ended_at=now)
        case LeaseState.DELETING:
            return row.moved(LeaseState.GONE, reason=row.reason, ended_at=now)
        case _:
            return row.moved(LeaseState.GONE, reason=why or UNLISTED, ended_at=now)


def _commit(journal: Journal, before: LeaseRow, after: LeaseRow) -> LeaseRow:
    if after != before:
        if after.state is LeaseState.GONE:
            crash_point("C7")
        journal.update_lease(after, was=before.state)
    return after
