"""End leases: ask until two complete listings lack the machine, however long that takes."""

import asyncio
from collections.abc import Collection
from dataclasses import replace

from planner.errors import Incomplete, ProvisioningError
from provisioners.base import Provisioner, account_of
from provisioners.crash import crash_point
from provisioners.leases.journal import REFUSED, Journal, LeaseRow, LeaseState
from provisioners.leases.observe import Absences, Pace, Sight, look
from provisioners.leases.resolve import WRITE_OFF, resolve
from provisioners.pacer import LONGEST_PAUSE_S, MOST_DOUBLINGS

NOT_PLANNED, BY_GC = "not in the plan", "gc"
"""Why a machine is released that nothing is wrong with."""


async def release(
    journal: Journal,
    provisioner: Provisioner,
    lease_ids: Collection[str] | None = None,
    *,
    owner_id: str,
    deployment: str,
    reason: str,
    pace: Pace,
) -> Sight:
    """Release these leases of the deployment at this provider (None: all).

    A lease in doubt (SENT) is resolved on the way, and released if it is found. Asks go out side by side; one that
    fails is repeated after a growing pause. Raises Incomplete, naming what still costs, after the pace's patience.
    """
    absences = Absences(0.0 if provisioner.consistent else pace.settle_s)
    started, rounds = pace.clock(), 0
    if await _to_look_first(journal, provisioner, deployment):
        await look(journal, provisioner, absences, lease_ids, owner_id=owner_id, deployment=deployment, pace=pace)
    while True:
        rows = _condemn(journal, provisioner.provider, lease_ids, deployment, reason)
        await _ask_all(
            journal, provisioner, [row for row in rows if row.lease_id not in absences.since or not row.release_taken]
        )
        sight = await look(
            journal, provisioner, absences, lease_ids, owner_id=owner_id, deployment=deployment, pace=pace
        )
        left = [row for row in sight.rows if row.state.may_cost]
        if not left:
            return sight
        if pace.patience_s is not None and pace.clock() - started >= pace.patience_s:
            raise _not_gone(left, sight)
        await pace.sleep(_pause_s(left, absences, pace, rounds, settled=provisioner.consistent and not sight.distrust))
        rounds += 1


async def _to_look_first(journal: Journal, provisioner: Provisioner, deployment: str) -> bool:
    """Whether something is to be learnt while what runs is still listed: what became of intents, and whether a key
    that differs from theirs shows machines all the same, and so is of their account.
    """
    rows = [row for row in journal.leases(deployment) if row.provider == provisioner.provider and row.state.may_cost]
    if any(row.state is LeaseState.SENT for row in rows):
        return True
    try:
        account = await account_of(provisioner)
    except ProvisioningError:
        return False
    return any(row.account not in ("", account) for row in rows)


async def ask_release(
    journal: Journal, provisioner: Provisioner, lease_ids: Collection[str], *, deployment: str, reason: str
) -> None:
    """Commit that these leases are to go, and ask once for each; a refusal is in the row's reason.

    It waits for nothing: who looks at the provider from time to time proves them gone.
    """
    await _ask_all(journal, provisioner, _condemn(journal, provisioner.provider, lease_ids, deployment, reason))


async def resume(journal: Journal, provisioner: Provisioner, *, owner_id: str, deployment: str, pace: Pace) -> Sight:
    """What every command that changes a deployment begins with: finish releases, then find out about all other leases.

    After it the journal says what the provider has. Twice in a row, the second does nothing.
    """
    leaving = [row.lease_id for row in journal.leases(deployment) if row.state is LeaseState.DELETING]
    if leaving:
        await release(journal, provisioner, leaving, owner_id=owner_id, deployment=deployment, reason="", pace=pace)
    return await resolve(journal, provisioner, owner_id=owner_id, deployment=deployment, pace=pace)


def _condemn(
    journal: Journal, provider: str, lease_ids: Collection[str] | None, deployment: str, reason: str
) -> list[LeaseRow]:
    """Commit DELETING for every wanted lease that runs; return all that are DELETING now."""
    condemned = []
    for row in journal.leases(deployment):
        if row.provider != provider or (lease_ids is not None and row.lease_id not in lease_ids):
            continue
        if row.state.runs:
            after = row.moved(LeaseState.DELETING, reason=reason)
            journal.update_lease(after, was=row.state)
            condemned.append(after)
        elif row.state is LeaseState.DELETING:
            condemned.append(row)
    return condemned


async def _ask_all(journal: Journal, provisioner: Provisioner, rows: list[LeaseRow]) -> None:
    """Ask for each; an answer that is not a provider's word is a bug, and is raised once all asks have ended."""
    outcomes = await asyncio.gather(*(_ask(journal, provisioner, row) for row in rows), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def _ask(journal: Journal, provisioner: Provisioner, row: LeaseRow) -> None:
    refusal = ""
    crash_point("C6")
    try:
        await provisioner.release(row.provider_id)
    except ProvisioningError as error:
        refusal = f"{REFUSED}{error}"
    crash_point("C6-after")
    for stored in journal.leases(row.deployment):  # another task may have seen it gone meanwhile
        if stored.lease_id == row.lease_id and stored.state is LeaseState.DELETING:
            reason = stored.reason.partition(REFUSED)[0] + refusal
            journal.update_lease(replace(stored, attempts=stored.attempts + 1, reason=reason), was=stored.state)


def _pause_s(left: list[LeaseRow], absences: Absences, pace: Pace, rounds: int, *, settled: bool) -> float:
    """Growing while the provider still lists something, steady while absence settles, none where it needs no proof."""
    if all(row.lease_id in absences.since for row in left):
        return 0.0 if settled else pace.poll_s
    return min(pace.poll_s * 2.0 ** min(rounds, MOST_DOUBLINGS), LONGEST_PAUSE_S)


def _not_gone(left: list[LeaseRow], sight: Sight) -> Incomplete:
    which = ", ".join(
        f"{row.lease_id} ({row.instance}, {row.provider} {row.provider_id or '?'}, {row.state}, "
        f"{row.usd_per_hour:.4g} $/h{f', {row.reason}' if row.reason else ''})"
        for row in left
    )
    because = f" The listing proves nothing: {sight.distrust}." if sight.distrust else ""
    return Incomplete(
        f"Not proven gone: {which}.{because}", hint=f"Run the command again: it goes on asking. {WRITE_OFF}"
    )
