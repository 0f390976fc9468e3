"""Put the routes of a plan in force over the agents that were met: over all its replicas, or over those that stand."""

import asyncio
from collections.abc import Collection
from dataclasses import replace

from planner.deployment import Plan
from runtime.messages import ReplicaAddress
from thunderctl.controller.reroute import plan_over
from thunderctl.deploying.doors import let_in
from thunderctl.deploying.routing import push_plan, push_routes
from thunderctl.deploying.site import Site
from thunderctl.hosts.engines import served_name
from thunderctl.processes.agents import address_of
from thunderctl.spec.inputs import forced_codec, read_workload
from thunderctl.store.values import DeploymentState


async def route(site: Site) -> None:
    """The plan, whole."""
    addresses = await _addresses(site, site.plan)
    await push_plan(site.world, site.plan, addresses, served_name(site.plan, site.spec), site.spec.serve)


async def route_over(site: Site, serving: Collection[str]) -> str:
    """The plan as far as these replicas go; it stays the one that is wanted. Says how their routes were found."""
    workload, codec = read_workload(site.spec), forced_codec(site.spec)
    chosen, how = await asyncio.to_thread(plan_over, site.plan, serving, workload, codec=codec)
    addresses, name = await _addresses(site, chosen), served_name(site.plan, site.spec)
    await push_routes(site.world, chosen, addresses, name, site.spec.serve, plan_id=site.plan.plan_id)
    store, endpoint = site.world.store, site.world.router.endpoint
    deployment = store.deployment(site.world.name)
    store.save_deployment(replace(deployment, state=DeploymentState.SERVING, endpoint=endpoint))
    return how


async def route_without(site: Site, out: Collection[str]) -> None:
    """The plan but for these replicas, for a while; where that is all of them, the router lets nobody in meanwhile."""
    serving = {replica.id for replica in site.plan.replicas} - set(out)
    if not site.world.router.may_run:
        return
    if serving:
        await route_over(site, serving)
    else:
        await site.world.router.link_again(site.spec.serve)
        await site.world.router.close()


async def _addresses(site: Site, plan: Plan) -> dict[str, ReplicaAddress]:
    await _introduce(site, {name for replica in plan.replicas for name in replica.instances})
    found = {}
    for replica in plan.replicas:
        agent = await site.agent(replica.instances[0])
        found[replica.id] = address_of(replica, agent, await agent.health())
    return found


async def _introduce(site: Site, instances: Collection[str]) -> None:
    """Tell agents that no other can dial whom they shall dial, each so that KV can leave its instance."""
    agents = {name: await site.agent(name) for name in sorted(instances)}
    await let_in(site, agents)
    reached = [agent.address for name, agent in agents.items() if site.machines[name].dialled]
    for name, agent in agents.items():
        if not site.machines[name].dialled:
            await agent.dial(reached)
            if not reached:
                site.narrate(name, "no agent can be dialled, neither this one nor any other: KV can't cross")
