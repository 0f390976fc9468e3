"""Puts a proposal in force: no engine is touched, and requests under way end under the routes that they began with."""

from planner.document import plan_to_json
from provisioners.crash import crash_point
from thunderctl.controller.adapting.assessment import Proposal
from thunderctl.controller.heard import Heard
from thunderctl.deploying.lifecycle import record_rebalance
from thunderctl.deploying.routing import push_plan, push_routes
from thunderctl.world import World


async def put_in_force(world: World, proposal: Proposal, heard: Heard) -> str:
    """The plan that is wanted from now on, where it has all replicas of the routed one; else only its routes.

    Nothing, where the routes are no longer those it was made for. Whoever calls it holds the deployment's lock.
    """
    assert heard.routing is not None
    known, plan = world.router.routes(), proposal.plan
    if known is None or known.epoch != proposal.epoch:
        return ""
    serving = world.spec().serve
    if {one.id for one in plan.replicas} == {one.id for one in heard.routing.plan.replicas}:
        world.store.save_plan(plan.plan_id, world.name, plan_to_json(plan))
        epoch = await push_plan(world, plan, heard.addresses, known.model, serving)
    else:
        routed = heard.routing.plan.plan_id
        epoch = await push_routes(world, plan, heard.addresses, known.model, serving, plan_id=routed)
    crash_point("K4")
    record_rebalance(world, epoch, proposal.flips)
    return f"epoch {epoch} in force"
