"""Put routes in force: number the epoch, tell the router, remember it."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from planner.batching import MAX_SEQUENCES
from planner.crossover import local_below_tokens, local_rates
from planner.deployment import Plan, Replica
from planner.errors import Incomplete
from runtime.messages import ReplicaAddress, Routes, RouteShare
from thunderctl.spec import ServeSection
from thunderctl.store.values import DeploymentState
from thunderctl.world import World

DRAIN_DEADLINE_S = 120.0
LOOK_EVERY_S = 0.5


def shares_of(plan: Plan) -> list[RouteShare]:
    """The plan's routes as the router is told them."""
    return [
        RouteShare(route.prefill, route.decode, route.share, route.codec, below)
        for route, below in zip(plan.routes, local_below_tokens(plan), strict=True)
    ]


def replicas_of(plan: Plan, addresses: Mapping[str, ReplicaAddress]) -> list[ReplicaAddress]:
    """The plan's replicas as the router is told them."""
    rates = local_rates(plan)
    return [
        replace(
            addresses[replica.id],
            phase=replica.phase,
            max_requests=max_requests(plan, replica),
            local_tokens_per_s=rates.get(replica.id, 0.0),
        )
        for replica in plan.replicas
    ]


def max_requests(plan: Plan, replica: Replica) -> int:
    """How many requests a replica holds at a time, at the plan's mean lengths.

    Decoding, what its KV holds of requests that are half written, and what vLLM runs together. Prefilling alone, what
    it gets through within the target for TTFT: more would only wait there.
    """
    tokens = plan.workload.prompt_tokens_mean + plan.workload.output_tokens_mean / 2
    held = min(replica.kv_capacity_tokens / max(tokens, 1.0), MAX_SEQUENCES)
    if not replica.phase.decodes:
        held = min(held, replica.capacity_rps * plan.slo.ttft_s)
    return max(math.ceil(held), 1)


async def push_plan(
    world: World, plan: Plan, addresses: Mapping[str, ReplicaAddress], model: str, serving: ServeSection
) -> int:
    """Make `plan` the plan in force, over engines at `addresses`; returns the epoch."""
    replicas = replicas_of(plan, addresses)
    epoch = await _push(world, replicas, shares_of(plan), model, serving)
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
        replicas = [entry for entry in routes.replicas if entry.id in used]
        await _push(world, replicas, left, routes.model, world.spec().serve)
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
    world: World, replicas: Sequence[ReplicaAddress], shares: Sequence[RouteShare], model: str, serving: ServeSection
) -> int:
    """The epoch's number is committed before the router is told, so that no two epochs are ever called the same."""
    deployment, known = world.store.deployment(world.name), world.router.routes()
    epoch = max(deployment.epoch, known.epoch if known else 0) + 1
    world.store.save_deployment(replace(deployment, epoch=epoch))
    world.router_tls()
    await world.router.serve(Routes(epoch, model, tuple(replicas), tuple(shares)), serving)
    return epoch
