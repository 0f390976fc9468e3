"""Put routes in force: number the epoch, tell the router, remember it."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from planner.batching import MAX_SEQUENCES
from planner.crossover import local_below_tokens, local_rates
from planner.deployment import Plan, Replica
from planner.errors import HostError, Incomplete
from provisioners.crash import crash_point
from runtime.messages import ReplicaAddress, Routes, RouteShare, agent_name
from thunderctl.history import IN_FORCE
from thunderctl.spec.sections import ServeSection
from thunderctl.store.values import DeploymentState
from thunderctl.world import World

DRAIN_DEADLINE_S = 120.0
SAY_EVERY_S = 2.0
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
            capacity_rps=replica.capacity_rps,
        )
        for replica in plan.replicas
    ]


def told_of(
    plan: Plan, addresses: Mapping[str, ReplicaAddress]
) -> tuple[Sequence[ReplicaAddress], Sequence[RouteShare]]:
    """All that the router is told of a plan: of hundreds of replicas that takes longer than a tick may."""
    return replicas_of(plan, addresses), shares_of(plan)


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
    """Make `plan` the plan in force, over engines at `addresses`; returns the epoch.

    That it is wanted is committed first: whoever is killed in between, or finds no router, leaves a wish that the
    controller, or the next `up`, carries out; never routes of one plan and the wish for another.
    """
    world.store.save_deployment(replace(world.store.deployment(world.name), plan_id=plan.plan_id))
    crash_point("K5")
    epoch = await push_routes(world, plan, addresses, model, serving, plan_id=plan.plan_id)
    deployment = world.store.deployment(world.name)
    state, endpoint = DeploymentState.SERVING, world.router.endpoint
    world.store.save_deployment(replace(deployment, state=state, endpoint=endpoint))
    return epoch


async def push_routes(
    world: World,
    plan: Plan,
    addresses: Mapping[str, ReplicaAddress],
    model: str,
    serving: ServeSection,
    *,
    plan_id: str,
) -> int:
    """Put a plan's routes in force and leave the plan that is wanted as it is; returns the epoch.

    `plan_id` is of the plan that `plan` is made of: all of it, or what can serve now.
    """
    replicas, shares = await asyncio.to_thread(told_of, plan, addresses)
    return await _push(world, replicas, shares, model, serving, plan_id=plan_id)


async def drain(world: World, replica_id: str, narrate: Callable[[str, str], None], *, lease_id: str) -> None:
    """Take a replica out of the routes where it still is in them, then wait until it has finished what it has.

    `lease_id` is of the machine it runs on. Where the routes have given its name to another machine's engine, they stay
    and the requests of all epochs before them are waited for: the router counts requests by name, not by machine.
    """
    routes = world.router.routes()
    if routes is None or not world.router.may_run:
        return
    succeeded = _succeeded(routes, replica_id, lease_id)
    if not succeeded:
        await _take_out(world, routes, replica_id)
    await _finished(world, replica_id, narrate, before=routes.epoch if succeeded else None)


async def finished(world: World, replica_id: str, narrate: Callable[[str, str], None]) -> None:
    """Wait until a replica that gets no more requests has finished what it has."""
    if world.router.routes() is not None and world.router.may_run:
        await _finished(world, replica_id, narrate, before=None)


async def _finished(world: World, replica_id: str, narrate: Callable[[str, str], None], *, before: int | None) -> None:
    deadline = time.monotonic() + DRAIN_DEADLINE_S
    while requests := await _requests_left(world, replica_id, before=before):
        if time.monotonic() > deadline:
            raise Incomplete(
                f"{replica_id} still has {requests} requests after {DRAIN_DEADLINE_S:.0f} s; it was not stopped.",
                hint="Run the command again to go on waiting.",
            )
        narrate(replica_id, f"draining, {requests} requests left")


def _succeeded(routes: Routes, replica_id: str, lease_id: str) -> bool:
    """Whether the routes mean the engine of another machine by this name."""
    named = {entry.server_name for entry in routes.replicas if entry.id == replica_id and entry.server_name}
    return bool(named) and agent_name(lease_id) not in named


async def _take_out(world: World, routes: Routes, replica_id: str) -> None:
    """Routes without the replica, where it is in some and not in all."""
    left = [route for route in routes.routes if replica_id not in (route.prefill, route.decode)]
    if left and len(left) < len(routes.routes):
        used = {end for route in left for end in (route.prefill, route.decode)}
        replicas = [entry for entry in routes.replicas if entry.id in used]
        await _push(world, replicas, left, routes.model, world.spec().serve, plan_id=routes.plan_id)


async def _requests_left(world: World, replica_id: str, *, before: int | None) -> int:
    """How many requests a replica has, or how many began under epochs before that one: after a while, or at none.

    A router elsewhere that no link leads to goes on serving: it is linked again, and asked then.
    """
    try:
        return await _asked(world, replica_id, before=before)
    except HostError:
        if not world.router.is_unlinked:
            raise
    await world.router.link_again(world.spec().serve)
    return await _asked(world, replica_id, before=before)


async def _asked(world: World, replica_id: str, *, before: int | None) -> int:
    if before is None:
        return await world.router.drained(replica_id, SAY_EVERY_S)
    under_way = (await world.router.observed())["in_flight"]
    requests = sum(int(count) for epoch, count in under_way.items() if int(epoch) < before)
    if requests:
        await asyncio.sleep(LOOK_EVERY_S)
    return requests


async def _push(
    world: World,
    replicas: Sequence[ReplicaAddress],
    shares: Sequence[RouteShare],
    model: str,
    serving: ServeSection,
    *,
    plan_id: str,
) -> int:
    """The epoch's number is committed before the router is told, so that no two epochs are ever called the same."""
    deployment, known = world.store.deployment(world.name), world.router.routes()
    epoch = max(deployment.epoch, known.epoch if known else 0) + 1
    world.store.save_deployment(replace(deployment, epoch=epoch))
    world.router_tls()
    await world.router.serve(Routes(epoch, model, tuple(replicas), tuple(shares), plan_id), serving)
    crash_point("K6")
    _record(world, epoch, plan_id, before=known.plan_id if known else "")
    return epoch


def _record(world: World, epoch: int, plan_id: str, *, before: str) -> None:
    """Write down that another plan's routes are in force: `history` is read from that."""
    if plan_id and plan_id != before:
        said = f"plan {plan_id} is in force (epoch {epoch}){f', in place of {before}' if before else ''}"
        world.store.record(world.name, IN_FORCE, said, plan_id=plan_id, before=before, epoch=epoch)
