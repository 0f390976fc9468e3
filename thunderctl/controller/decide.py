"""What is to be done about a situation. Pure: doing the steps and looking again leaves nothing to do.

A machine that has to go is given no more requests first: its lease is marked as draining, which outlives this process,
then the routes go over the others, and it is released when its requests have ended or its time is up. Where nobody is
left the router lets no new request in, and stops when the last machine is released. So it is done with a deployment
whose `down` was cut off. What is concluded from a listing waits until that listing can be trusted; limits on time and
money rest on no listing, and do not wait.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from provisioners.leases.journal import Cause, LeaseRow, LeaseState
from provisioners.leases.limits import Due, Limit
from thunderctl.controller.replacements import replacements
from thunderctl.controller.situation import Situation, Vital
from thunderctl.controller.sizing.resizing import goes_to_rest, keeps, resizes, stays
from thunderctl.controller.steps import Close, ControlStep, Drain, Rebalance, Release, Replace, Route, Stop
from thunderctl.deploying.routing import DRAIN_DEADLINE_S
from thunderctl.store.values import DeploymentState

WANTED = (LeaseState.CREATED, LeaseState.READY)
ROUTED = (DeploymentState.SERVING, DeploymentState.STOPPING)
TAKEN_DOWN = "down"


@dataclass(frozen=True, slots=True)
class Leaving:
    """Leases that are to be released, with the reason; of those that are `overdue` no request is waited for.

    `causes` is what those go for that are ready and of use.
    """

    reasons: Mapping[str, str]
    overdue: frozenset[str]
    causes: Mapping[str, Cause]


def decide(now: Situation) -> tuple[ControlStep, ...]:
    """The steps, in the order in which they are to be done."""
    leaving = leaving_of(now)
    rows = {row.lease_id: row for row in now.rows}
    going = ((one, why) for one, why in leaving.reasons.items() if rows[one].state in WANTED)
    drains = [Drain(one, why, leaving.causes.get(one)) for one, why in going]
    releases = _releases(now, leaving)
    pressing = (
        *resizes(now),
        *keeps(now),
        *drains,
        *_routes(now, leaving),
        *releases,
        *_stop(now, leaving),
    )
    better = () if pressing else _rebalances(now, leaving)
    serving = serving_of(now, leaving)
    serves = any(now.replicas_on(row) & serving for row in now.rows)  # one that was missed once may have no machine
    return (*pressing, *better, *(() if leaving.reasons else replacements(now, serves=serves)))


def is_calm(now: Situation) -> bool:
    """Whether phases and routes may be changed for better ones: nothing else is to be done, nobody goes or is missed,
    and the routes are of the plan that is wanted."""
    pressing = [step for step in decide(now) if not isinstance(step, Rebalance | Replace)]
    return not pressing and _is_settled(now, leaving_of(now))


def _is_settled(now: Situation, leaving: Leaving) -> bool:
    if now.routing is None or now.state is not DeploymentState.SERVING or now.routing.plan.plan_id != now.plan_id:
        return False
    if now.routing.behind:
        return False
    alive = all(now.conditions[one].vital is Vital.ALIVE for one in now.routed if one in now.conditions)
    return alive and not leaving.reasons and bool(now.routed) and now.routed == serving_of(now, leaving)


def _rebalances(now: Situation, leaving: Leaving) -> tuple[Rebalance, ...]:
    """What was proposed for the replicas that get requests now, while all is well with them."""
    if now.proposal is None or not _is_settled(now, leaving):
        return ()
    same = {one.id for one in now.proposal.plan.replicas} == now.routed
    return (Rebalance(now.proposal),) if same else ()


def leaving_of(now: Situation) -> Leaving:
    """Which leases have to go."""
    limits = {one: limit for limit in now.limits if limit.due is not Due.WARN for one in limit.lease_ids}
    reasons: dict[str, str] = {}
    causes: dict[str, Cause] = {}
    for row in now.rows:
        if stays(now, row):
            continue
        if row.state is LeaseState.DRAINING:
            reasons[row.lease_id] = row.reason
        elif row.state in WANTED and (why := _useless(now, row)):
            reasons[row.lease_id] = why
        elif row.state in WANTED and (found := _ended(now, limits.get(row.lease_id))):
            reasons[row.lease_id], cause = found
            if row.state is LeaseState.READY:
                causes[row.lease_id] = cause
        elif row.state in WANTED and (why := goes_to_rest(now, row)):
            reasons[row.lease_id] = why
            if row.state is LeaseState.READY:
                causes[row.lease_id] = Cause.REST
    return Leaving(reasons, _overdue(now), causes)


def _ended(now: Situation, limit: Limit | None) -> tuple[str, Cause] | None:
    """Why a machine goes that is of use. While `down` is at work it holds the lock: then nothing is done here."""
    if now.state is DeploymentState.STOPPING:
        return TAKEN_DOWN, Cause.DOWN
    return (limit.reason, limit.cause) if limit else None


def _overdue(now: Situation) -> frozenset[str]:
    """What a limit ends at once; where requests have some notice, once they had it."""
    return frozenset(
        one
        for limit in now.limits
        if limit.due is Due.RELEASE
        for one in limit.lease_ids
        if now.drained_s.get(one, 0.0) >= limit.notice_s
    )


def serving_of(now: Situation, leaving: Leaving) -> frozenset[str]:
    """The replicas that requests should go to.

    While the plan that is wanted is another than that of the routes, an `up` is half-way: then replicas only leave.
    """
    if now.routing is None or now.state is DeploymentState.STOPPING:
        return frozenset()
    known = {one.id for one in now.routing.plan.replicas}
    may_serve = known if now.routes_as_wanted else known & now.routing.replicas
    return frozenset(one for one in may_serve - _going(now, leaving) if _can_serve(now, one))


def _can_serve(now: Situation, replica: str) -> bool:
    vital = now.conditions[replica].vital
    return vital is Vital.ALIVE or (vital is Vital.UNSURE and replica in now.routed)


def _useless(now: Situation, row: LeaseRow) -> str:
    """Why a lease is released before its time: its machine is of no use, or was never made ready.

    No command makes it ready any more, as this one holds the lock: the next has so long to go on with it.
    """
    problem = now.problems.get(row.lease_id, "")
    if problem and row.provider not in now.distrust:
        return problem
    asked_at = row.created_at if row.sent_at is None else row.sent_at
    waited_s = now.at - (max(asked_at, now.worked_on_at) if now.is_chosen(row) else asked_at)
    if row.state is LeaseState.CREATED and waited_s > now.ready_deadline_s:
        return f"it was not ready within {now.ready_deadline_s:.0f} s"
    return ""


def _routes(now: Situation, leaving: Leaving) -> tuple[ControlStep, ...]:
    if now.routing is None or now.state not in ROUTED:
        return ()
    serving = serving_of(now, leaving)
    if serving and (serving != now.routed or serving & now.moved or now.routing.behind):
        return (Route(serving, _why(now, leaving, serving)),)
    return () if serving else _routes_unheard(now, leaving)


def _routes_unheard(now: Situation, leaving: Leaving) -> tuple[ControlStep, ...]:
    """While nobody answers the router goes on trying those that it knows, but for those who leave."""
    assert now.routing is not None
    tried = _tried(now, leaving)
    if tried and (now.routed & _going(now, leaving) or not now.routing.admits):
        return (Route(tried, _why(now, leaving, tried)),)
    if not tried and now.routed and leaving.reasons:
        return (Close(_reasons(leaving)),)
    return ()


def _tried(now: Situation, leaving: Leaving) -> frozenset[str]:
    """Whom the router may reach where nobody answers the controller, whose own network may be what is broken: those
    that it knows whose machines stay."""
    routing = now.routing
    if routing is None or not routing.running or now.state is DeploymentState.STOPPING:
        return frozenset()
    stay = {row.instance for row in now.rows if row.lease_id not in leaving.reasons and now.replicas_on(row)}
    return frozenset(one.id for one in routing.plan.replicas if stay.issuperset(one.instances)) & routing.replicas


def _going(now: Situation, leaving: Leaving) -> frozenset[str]:
    """The replicas on machines that are to be released."""
    return frozenset(one for row in now.rows if row.lease_id in leaving.reasons for one in now.replicas_on(row))


def _stop(now: Situation, leaving: Leaving) -> tuple[Stop, ...]:
    """The router, where nobody is left to serve, once what went to those who leave has ended, or had time enough."""
    if now.routing is None or not now.routing.running:
        return ()
    left = [row for row in now.rows if row.lease_id in leaving.reasons]
    is_wanted = now.state is not DeploymentState.STOPPING and now.routing.admits and not left
    if now.state not in ROUTED or is_wanted or serving_of(now, leaving) or _tried(now, leaving):
        return ()
    has_ended = _is_late if now.routing.admits else _has_drained  # one that can't be told to close is not waited for
    if not all(has_ended(now, row, leaving) for row in left):
        return ()
    return (Stop(_reasons(leaving) or "nobody is left to serve"),)


def _reasons(leaving: Leaving) -> str:
    return "; ".join(sorted(set(leaving.reasons.values())))


def _why(now: Situation, leaving: Leaving, serving: frozenset[str]) -> str:
    """`d0 left out: the agent of i1 can't be reached; d1 back`."""
    assert now.routing is not None
    out = {one: now.conditions[one].reason for one in now.routing.replicas - serving if one in now.conditions}
    for row in now.rows:
        if row.lease_id in leaving.reasons:
            out |= dict.fromkeys(now.replicas_on(row) & now.routing.replicas, leaving.reasons[row.lease_id])
    parts = ["no router was running"] * (not now.routing.running)
    parts += ["the router let nobody in"] * (now.routing.running and not now.routing.admits)
    parts += [f"the routes were not yet those of plan {now.plan_id}"] * now.routing.behind
    parts += [f"{one} left out: {why or 'not of the plan'}" for one, why in sorted(out.items())]
    parts += [f"{one} back" for one in sorted(serving - now.routing.replicas)]
    parts += [f"{one} reached elsewhere" for one in sorted(serving & now.routing.replicas & now.moved)]
    return "; ".join(part.rstrip(".") for part in parts)


def _releases(now: Situation, leaving: Leaving) -> list[Release]:
    """What has drained; and again what is still listed after it was asked to go, or was refused to."""
    found = []
    for row in now.rows:
        goes = row.state is LeaseState.DRAINING and row.lease_id in leaving.reasons
        drained = goes and _has_drained(now, row, leaving)
        undone = row.state is LeaseState.DELETING and (row.lease_id in now.listed or not row.release_taken)
        if drained or undone:
            found.append(Release(row.lease_id, row.reason))
    return found


def _is_late(now: Situation, row: LeaseRow, leaving: Leaving) -> bool:
    """Its requests had time enough."""
    return row.lease_id in leaving.overdue or now.drained_s.get(row.lease_id, 0.0) >= DRAIN_DEADLINE_S


def _has_drained(now: Situation, row: LeaseRow, leaving: Leaving) -> bool:
    """No request goes there any more, and those that did have ended, or had time enough.

    Replicas that the plan lacks by now, as somebody drained them, may have been on any machine: all wait for theirs.
    """
    if _is_late(now, row, leaving) or now.routing is None or not now.routing.running:
        return True
    mine, under_way = now.replicas_on(row), now.routing.in_flight
    if now.routing.behind or under_way is None or mine & now.routed:
        return False  # behind: requests may go there by the routes of the plan before
    known = {one.id for one in now.routing.plan.replicas}
    return not any(count for one, count in under_way.items() if one in mine or one not in known)
