"""Which instances are to be leased again: what was lost or left half done, and what rested and is wanted. Pure."""

from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.limits import WARN_S
from thunderctl.controller.situation import Situation
from thunderctl.controller.steps import Replace
from thunderctl.store.values import DeploymentState

FORGOTTEN = "forgotten by "
"""How the reason begins of a lease that `leases --forget` ended (`LeaseRow.forgotten`)."""
LEFT_S = 60.0
"""So long after the last command was at work, whoever was to make a machine ready is known not to be at it."""


def replacements(now: Situation, *, serves: bool) -> list[Replace]:
    """Machines that were lost before their time, where there is money, and all that is listed is known: a step each,
    as each may have to wait for another reason. What is being replaced already has none. Where no replica `serves`,
    only if the fleet is gone and this is proven: not where machines are silent, or may be without our knowing.

    So have those that an `up` began to replace and did not bring to serve: it is gone on with. A lease that came to its
    own end is not leased anew, and near the end of the others nothing is. What rested and is wanted again is leased
    whatever became of its last lease.
    """
    if not (now.routes_as_wanted and now.state is DeploymentState.SERVING):
        return []
    if now.limits or now.distrust or float(now.usd_per_hour) > now.budget_usd_per_hour:
        return []
    if not serves and why_not_as_a_whole(now):
        return []
    causes, lost = _absent(now), early(now)
    others = (row for row in now.rows if row.state.runs)  # one that is being deleted may have ended long ago
    ends = [one.expires_at for one in (*others, *lost) if one.expires_at is not None]
    until = min(ends, default=None)
    return [Replace((one,), "; ".join(causes[one]), until) for one in sorted(causes) if one not in now.replacing]


def why_not_as_a_whole(now: Situation) -> str:
    """Why nothing is leased anew by the controller where no replica serves; empty where it is.

    Rows that are gone are proven to be; what else may be there is not counted out. A fleet that ended as its money did
    has no limit that is due any more, so what is left has to last beyond the warning.
    """
    at_work = [one for one in now.rows if one.state in (LeaseState.READY, LeaseState.DRAINING)]
    if quiet := [one.instance for one in at_work if one.lease_id in now.silent and one.instance not in now.replacing]:
        return f"{', '.join(sorted(quiet))} may be there, and can't be reached"
    if unseen := [one.instance for one in now.lost if one.is_unseen]:
        return f"whether {', '.join(sorted(unseen))} was made is not known"
    if any(one.reason.startswith(FORGOTTEN) for one in now.lost):
        return "leases were forgotten on somebody's word"
    if now.unwatched:
        return "nobody had spoken to the machines for so long that they may have ended themselves"
    if now.left_usd * 3600 <= WARN_S * (float(now.usd_per_hour) + sum(one.usd_per_hour for one in early(now))):
        return f"the ${max(0.0, now.left_usd):.2f} that may still be spent would last no hour"
    return ""


def _absent(now: Situation) -> dict[str, list[str]]:
    """The instances that have no machine which serves, though they should, and why: in words."""
    found: dict[str, list[str]] = {}
    for one in now.lost:
        if why := now.resting.woken.get(one.instance):
            found.setdefault(one.instance, []).append(f"{one.instance} is wanted again: {why}")
    woken = bool(found)
    for one in early(now):
        found.setdefault(one.instance, []).append(f"{one.instance} is {one.state}: {one.reason or 'nobody said why'}")
    for name in now.replaced if now.replaces or woken else ():
        found.setdefault(name, []).append(f"{name} was replaced and does not serve yet")
    for name in _left_half_done(now) if now.replaces else ():
        found.setdefault(name, [f"{name} was leased and is not ready, and nobody goes on with it"])
    return found


def early(now: Situation) -> list[LeaseRow]:
    """The last leases of instances that were lost before their end, and are to be replaced for that."""
    return [one for one in ended_early(now) if now.replaces and one.instance not in now.resting.woken]


def ended_early(now: Situation) -> list[LeaseRow]:
    """The last leases of instances that were lost well before their end."""
    return [one for one in now.lost if one.expires_at is None or one.expires_at - WARN_S > now.at]


def _left_half_done(now: Situation) -> list[str]:
    """The plan's instances whose machines were being made ready by a command that has ended, or was ended."""
    worked_on_at = 0.0 if now.replacing else now.worked_on_at  # by those, which are at others
    left = [row for row in now.rows if row.state is LeaseState.CREATED and row.instance not in now.replacing]
    found = [row for row in left if max(row.sent_at or row.created_at, worked_on_at) <= now.at - LEFT_S]
    return [row.instance for row in found if now.replicas_on(row) and not now.rests(row)]
