"""Put routes in force: number the epoch, tell the router, remember it."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from planner.deployment import Plan
from planner.errors import Incomplete
from runtime.messages import ReplicaAddress, Routes, RouteShare
from thunderctl.store.values import DeploymentState
from thunderctl.world import World

DRAIN_DEADLINE_S = 120.0
LOOK_EVERY_S = 0.5


def shares_of(plan: Plan) -> list[RouteShare]:
    """The plan's routes as the router is told them."""
    return [RouteShare(route.prefill, route.decode, route.share, route.codec) for route in plan.routes]


async def push_plan(world: World, plan: Plan, addresses: Mapping[str, ReplicaAddress], model: str, listen: str) -> int:
    """Make `plan` the plan in force, over engines at `addresses`; returns the epoch."""
    replicas = [replace(addresses[replica.id], phase=replica.phase) for replica in plan.replicas]
    epoch = await _push(world, replicas, shares_of(plan), model, listen)
    deployment = world.store.deployment(world.name)
    state, endpoint = DeploymentState.SERVING, world.router.endpoint
    world.store.save_deployment(replace(deployment, plan_id=plan.plan_id, state=state, endpoint=endpoint))
    return epoch


async def drain(world: World, replica_id: str, narrate: Callable[[str, str], None]) -> None:
    """Take a replica out of the routes where it still is in them, then wait until it has finished what it has."""
    routes = world.router.routes()
    if routes is None or world.router.running() is None:
        return
    left = [route for route in routes.routes if replica_id not in (route.prefill, route.decode)]
    if left and len(left) < len(routes.routes):
        used = {end for route in left for end in (route.prefill, route.decode)}
        await _push(world, [entry for entry in routes.replicas if entry.id in used], left, routes.model, "")
    deadline = time.monotonic() + DRAIN_DEADLINE_S
    while requests := _in_flight(await world.router.observed(), replica_id):
        if time.monotonic() > deadline:
            raise Incomplete(
                f"{replica_id} still has {requests} requests after {DRAIN_DEADLINE_S:.0f} s; it was not stopped.",
                hint="Run the command again to go on waiting.",
            )
        narrate(replica_id, f"draining, {requests} requests left")
        await asyncio.sleep(LOOK_EVERY_S)


def _in_flight(seen: Mapping[str, Any], replica_id: str) -> int:
    """Requests that a replica has, under whichever epoch they began, also where it is in no route any more."""
    return int(seen["in_flight_at"].get(replica_id, 0))


async def _push(
    world: World, replicas: Sequence[ReplicaAddress], shares: Sequence[RouteShare], model: str, listen: str
) -> int:
    """The epoch's number is committed before the router is told, so that no two epochs are ever called the same."""
    deployment, known = world.store.deployment(world.name), world.router.routes()
    epoch = max(deployment.epoch, known.epoch if known else 0) + 1
    world.store.save_deployment(replace(deployment, epoch=epoch))
    world.router_tls()
    await world.router.serve(Routes(epoch, model, tuple(replicas), tuple(shares)), listen)
    return epoch
