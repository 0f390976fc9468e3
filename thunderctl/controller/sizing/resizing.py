"""What is to be done about instances that rest, or are to: as steps, and as leases that have to go. Pure."""

from collections.abc import Iterator

from provisioners.leases.journal import Cause, LeaseRow, LeaseState
from provisioners.leases.limits import Due
from thunderctl.controller.situation import Situation, Vital
from thunderctl.controller.steps import Keep, Resize
from thunderctl.fleet.resting import Resting
from thunderctl.store.values import DeploymentState


def resizes(now: Situation) -> Iterator[Resize]:
    """What should rest is committed first, while the deployment serves and nothing else ends it."""
    wanted = now.wanted_rest
    ends = any(limit.due is not Due.WARN for limit in now.limits)
    if wanted is None or wanted == now.resting or ends:
        return
    if now.state is DeploymentState.SERVING and now.routes_as_wanted:
        yield Resize(wanted, change_said(now.resting, wanted))


def keeps(now: Situation) -> Iterator[Keep]:
    """Machines that drain to rest, and are wanted again before they are released."""
    for row in now.rows:
        if stays(now, row):
            why = "nobody else can serve" if now.rests(row) else "it is to rest no more"
            yield Keep(row.lease_id, why)


def stays(now: Situation, row: LeaseRow) -> bool:
    """Whether it drains only to rest, and that holds no longer: as it is wanted, or as nobody else can serve."""
    if row.state is not LeaseState.DRAINING or row.drained_for is not Cause.REST:
        return False
    if now.state is not DeploymentState.SERVING or row.lease_id in now.problems:
        return False
    ended = {one for limit in now.limits if limit.due is not Due.WARN for one in limit.lease_ids}
    return row.lease_id not in ended and not (now.rests(row) and others_serve(now))


def goes_to_rest(now: Situation, row: LeaseRow) -> str:
    """Why a machine that is wanted for nothing else is released: its instance rests, and others serve."""
    if now.state is not DeploymentState.SERVING or not now.rests(row) or not others_serve(now):
        return ""
    if now.wanted_rest is not None and not now.wanted_rest.rests(row.instance, row.offer_id):
        return ""  # that is committed first
    return f"it rests: {now.resting.instances[row.instance].reason}"


def others_serve(now: Situation) -> bool:
    """Whether a replica that needs no instance at rest can serve: there is a way for requests without them."""
    if now.routing is None:
        return False
    others = (one.id for one in now.routing.plan.replicas if one.id not in now.replicas_at_rest)
    return any(
        now.conditions[one].vital is Vital.ALIVE or (now.conditions[one].vital is Vital.UNSURE and one in now.routed)
        for one in others
    )


def change_said(before: Resting, after: Resting) -> str:
    """What changes, and why, in words."""
    rests: dict[str, list[str]] = {}
    for name, rest in after.instances.items():
        if name not in before.instances:
            rests.setdefault(rest.reason, []).append(name)
    wakes: dict[str, list[str]] = {}
    for name, why in after.woken.items():
        if name not in before.woken:
            wakes.setdefault(why, []).append(name)
    parts = [f"{', '.join(sorted(names))} is to rest: {why}" for why, names in rests.items()]
    parts += [f"{', '.join(sorted(names))} is wanted again: {why}" for why, names in wakes.items()]
    return "; ".join(parts) or "what came back is noted"
