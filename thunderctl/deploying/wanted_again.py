"""Machines that were on their way out and are wanted again: `up` after a limit was moved, or a `down` was cut off."""

from dataclasses import replace

from provisioners.leases.journal import Cause, LeaseRow, LeaseState
from provisioners.leases.limits import Due
from thunderctl.fleet.resting import Resting
from thunderctl.money.spending import spending_of
from thunderctl.spec.spec import Spec
from thunderctl.store.values import DeploymentState
from thunderctl.world import World


def go_on(world: World, spec: Spec, resting: Resting | None = None, *, is_whole: bool) -> None:
    """Commit that what runs is wanted under this spec, and what rests, and keep what drains for what holds no longer.

    `is_whole`: nothing else is left to do. Where nothing runs there is nothing to go on with. The caller holds the
    deployment's lock.
    """
    store, name = world.store, world.name
    rows = [row for row in store.leases(name) if row.state.runs]
    if not rows:
        return
    before = store.deployment(name)
    at_rest = Resting.from_json(before.resting) if resting is None else resting
    after = replace(before, spec=spec.model_dump(mode="json", exclude_unset=True), resting=at_rest.to_json())
    if before.state is DeploymentState.STOPPING:
        after = replace(after, state=DeploymentState.SERVING if is_whole else DeploymentState.STARTING)
    if after != before:
        store.save_deployment(after)
    still = due(world, spec)
    for row in rows:
        rests = row.drained_for is Cause.REST and at_rest.rests(row.instance, row.offer_id)
        if row.state is LeaseState.DRAINING and row.drained_for and row.lease_id not in still and not rests:
            keep(world, row)


def due(world: World, spec: Spec, *causes: Cause) -> dict[str, str]:
    """Lease → why it drains or is released by now under this spec: for a limit of these kinds, or of any."""
    found = spending_of(world.store, world.name).limits(spec.budget.max_total_usd)
    return {
        one: limit.reason
        for limit in found
        if limit.due is not Due.WARN and (not causes or limit.cause in causes)
        for one in limit.lease_ids
    }


def keep(world: World, row: LeaseRow) -> None:
    """Commit that a machine which drains, and is of use, is ready again. The controller puts requests on it again."""
    world.store.update_lease(row.moved(LeaseState.READY), was=row.state)
    world.store.record(
        world.name, "lease.kept", f"{row.instance} ({row.provider} {row.provider_id}) goes on: {row.reason}"
    )


def leaving_for_good(world: World) -> tuple[LeaseRow, ...]:
    """The leases that are on their way out whatever is said of time and money."""
    rows = world.store.leases(world.name)
    return tuple(row for row in rows if row.state is LeaseState.DRAINING and row.drained_for is None)
