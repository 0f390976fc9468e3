"""Start a replica's engine on its instance, and wait until it is ready; stop one wherever it runs."""

import asyncio
from functools import partial

from planner.deployment import Replica
from planner.errors import HostError, ReplicaUnhealthy
from runtime.messages import AgentHealth, EngineHealth
from thunderctl.deploying.site import Site
from thunderctl.observing.observe import agent_of
from thunderctl.processes.agents import AgentClient

HEALTH_EVERY_S = 0.5
SILENT_S = 30.0
"""An agent that does not answer for less long is on a line that has a bad moment."""
LOG_LINES = 20


async def start(site: Site, replica: Replica) -> None:
    """Raises ReplicaUnhealthy with the engine's own words where it does not become ready."""
    agent = await site.agent(replica.instances[0])
    await site.turn.change(replica.instances[0], partial(_begun, site, replica, agent))
    started = heard = site.clock()
    while True:
        try:
            engine, heard = _engine(await agent.health(), replica.id), site.clock()
        except HostError:
            if site.clock() - heard >= SILENT_S:
                raise
            engine = EngineHealth(replica.id, "unknown")
        if engine.state == "ready":
            return
        waited_s = site.clock() - started
        if engine.state == "failed":
            raise ReplicaUnhealthy(
                f"The engine of {replica.id} ended before it was ready: {engine.detail}",
                hint=f"See all of its log: thunderctl logs {replica.id}",
            )
        if waited_s > site.spec.leases.ready_deadline_s:
            log = await agent.log(replica.id, LOG_LINES)
            raise ReplicaUnhealthy(f"{replica.id} was not ready after {waited_s:.0f} s. The end of its log:\n{log}")
        site.narrate(replica.id, f"engine starting, {waited_s:.0f} s")
        await asyncio.sleep(HEALTH_EVERY_S)


async def _begun(site: Site, replica: Replica, agent: AgentClient) -> None:
    if site.turn.beside and site.leased(replica.instances[0]) is None:
        raise HostError(f"The machine of {replica.instances[0]} was released meanwhile: no engine is started there.")
    await agent.start(site.engines[replica.id])


async def stop(site: Site, replica_id: str, lease_id: str) -> None:
    """Stop the engine of that name on the machine of that lease; on another one its successor may bear the name."""
    row = next((row for row in site.rows() if row.lease_id == lease_id), None)
    if row is None:
        return
    listing = await site.listing(row.provider)
    machine = next((one for one in listing.machines if one.provider_id == row.provider_id), None)
    if machine is not None:
        await (await agent_of(site.world, site.agents, row, machine)).stop(replica_id)


def _engine(health: AgentHealth, replica_id: str) -> EngineHealth:
    found = (engine for engine in health.engines if engine.replica == replica_id)
    return next(found, EngineHealth(replica_id, "failed", detail="the agent does not know it"))
