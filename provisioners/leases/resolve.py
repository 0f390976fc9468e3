"""Find out what became of leases in doubt: adopt what a listing shows, and end what two listings lack."""

from collections.abc import Collection, Iterable

from planner.errors import Incomplete
from provisioners.base import Provisioner
from provisioners.leases.journal import Journal, LeaseRow, LeaseState
from provisioners.leases.observe import Absences, Pace, Sight, is_empty, look

WRITE_OFF = "What can never be proven, as its key or its host is gone: thunderctl leases --forget LEASE"


async def resolve(
    journal: Journal,
    provisioner: Provisioner,
    lease_ids: Collection[str] | None = None,
    *,
    owner_id: str,
    deployment: str,
    pace: Pace,
) -> Sight:
    """Look until each of these leases of the deployment at this provider (None: all) is seen or proven absent.

    Returns only on a listing that can be trusted: who could not find a machine must not make one. Raises Incomplete,
    naming what is in doubt and what it costs, when that is not so within the pace's patience. Twice in a row, the
    second does nothing.
    """
    absences = Absences(0.0 if provisioner.consistent else pace.settle_s)
    started = pace.clock()
    while True:
        sight = await look(
            journal, provisioner, absences, lease_ids, owner_id=owner_id, deployment=deployment, pace=pace
        )
        doubtful = _doubtful(sight.rows, absences)
        if not doubtful and not sight.distrust:
            return sight
        if pace.patience_s is not None and pace.clock() - started >= pace.patience_s:
            raise _unresolved(provisioner.provider, sight, doubtful)
        await pace.sleep(0.0 if provisioner.consistent and not sight.distrust else pace.poll_s)


def _doubtful(rows: Iterable[LeaseRow], absences: Absences) -> list[LeaseRow]:
    return [
        row for row in rows if row.state.may_cost and (row.state is LeaseState.SENT or row.lease_id in absences.since)
    ]


def _unresolved(provider: str, sight: Sight, doubtful: list[LeaseRow]) -> Incomplete:
    which = ", ".join(f"{row.lease_id} ({row.state}, {row.usd_per_hour:.4g} $/h)" for row in doubtful) or "none"
    return Incomplete(
        f"What {provider} has is not known: {sight.distrust or 'absence is not proven yet'}. Leases in doubt: {which}.",
        hint=_hint(provider, sight),
    )


def _hint(provider: str, sight: Sight) -> str:
    if not sight.distrust:
        return "Run the command again: it goes on looking."
    again = f"Run the command again once {provider} can be listed with the credentials of these leases."
    if is_empty(sight.distrust):
        again = f"If its machines were destroyed: thunderctl down proves it, by asking for their release. Else: {again}"
    return f"{again} {WRITE_OFF}"
