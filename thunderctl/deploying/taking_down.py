"""A deployment taken down: its last requests, its machines, its router and what was kept of it. Safe to run again."""

import asyncio
import time
from dataclasses import replace

from planner.errors import AuthError, HostError, Incomplete, SpecError, ThunderError
from planner.reconcile import Step, StepKind
from provisioners.crash import crash_point
from provisioners.leases.release import release
from thunderctl.deploying.apply import Report, StepResult, StepState, apply
from thunderctl.deploying.deploy import pace_of
from thunderctl.deploying.last_requests import await_last, grace_of, shut
from thunderctl.deploying.settling import providers_to_prove
from thunderctl.deploying.strays import check_none_left
from thunderctl.home import owner_id
from thunderctl.money.spending import DOWN
from thunderctl.spec.spec import Spec
from thunderctl.store.values import Deployment, DeploymentState
from thunderctl.world import World


async def take_down(world: World, *, report: Report, host_gone: bool = False) -> tuple[StepResult, ...]:
    """Stop the router, release every lease and prove it gone. Raises Incomplete, naming what still costs.

    Requests under way have their grace; a router elsewhere ends while machines are released. One that can't be ended
    holds up no release; Incomplete names it once all is gone, unless its `host_gone` for good.

    From the first write on a controller goes on with it, should this be cut off: requests under way have their time,
    then every machine is released. A provider that fails, its credentials too, holds up no other's.
    """
    store, spec = world.store, world.spec()
    deployment = store.deployment(world.name)
    store.save_deployment(replace(deployment, state=DeploymentState.STOPPING))
    crash_point("D1")
    grace_s = 0.0 if host_gone else grace_of(world)
    await shut(world)
    ending = asyncio.ensure_future(_router_ended(world))
    try:
        if any(row.state.may_cost for row in store.leases(world.name)):
            await await_last(world, ending, grace_s)
        crash_point("D2")
        results = await _all_released(world, spec, report)
        await ending
    finally:
        ending.cancel()
    if all(result.state is StepState.DONE for result in results):  # else the controller goes on asking
        await world.controller.stop()
        goes_on = await _router_ended(world)  # a controller that did not know of this may have started one meanwhile
        if goes_on is not None and not host_gone:
            raise Incomplete(
                f"Everything is released; the router elsewhere goes on: {goes_on.message}",
                hint="Run `thunderctl down` again when its host can be reached, or `thunderctl down --host-gone` if "
                "that is gone for good.",
            ) from goes_on
        world.forget()
        store.save_deployment(Deployment(world.name, epoch=deployment.epoch))
        store.record(world.name, DOWN, "everything is released and proven gone")
    return results


async def _all_released(world: World, spec: Spec, report: Report) -> tuple[StepResult, ...]:
    store = world.store
    steps = [Step(StepKind.RELEASE, provider) for provider in providers_to_prove(store.leases(world.name), time.time())]

    async def release_all(step: Step) -> None:
        try:
            seller = world.provisioner(step.id)
            sight = await release(
                store, seller, owner_id=owner_id(), deployment=world.name, reason=DOWN, pace=pace_of(spec)
            )
        except AuthError as error:  # that would end all other steps
            problem = error.message.rstrip(".")
            raise Incomplete(f"What {step.id} has is not released: {problem}.", hint=error.hint) from error
        check_none_left(sight.strays, step.id, world.name)
        if sight.distrust:
            raise Incomplete(f"What {step.id} has is not known: {sight.distrust}.", hint="Run the command again.")

    return await apply(steps, release_all, subjects={}, report=report)


async def _router_ended(world: World) -> ThunderError | None:
    """Stop the router; why one on another host can't be ended now."""
    try:
        await world.router.stop()
    except (HostError, SpecError) as error:
        return error
    return None
