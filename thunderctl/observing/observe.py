"""What runs now: the deployment's machines, agents, engines and router, as they answer this moment."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from planner.deployment import Phase, Plan, Replica
from planner.errors import HostError
from planner.reconcile import FleetState, RunningInstance, RunningReplica
from provisioners.base import AGENT_PORT, Machine
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.observe import matched
from runtime.messages import AgentHealth, EngineHealth, EngineSpec, ReplicaAddress, Routes
from runtime.tls import client_context
from thunderctl.hosts.engines import running_stages
from thunderctl.observing.leased_machines import costing
from thunderctl.processes.agents import AgentClient, Agents, address_of
from thunderctl.world import World

AGENT_FILE = "run/agent.pid.json"
ENDED = ("stopped", "failed")


@dataclass(frozen=True, slots=True)
class InstanceView:
    """One leased machine and what its agent says; `problem` is why there is no answer.

    `pending`: whoever asks has only begun to, and has neither an answer nor a reason why there is none.
    """

    lease: LeaseRow
    machine: Machine | None = None
    agent: AgentClient | None = None
    health: AgentHealth | None = None
    problem: str = ""
    pending: bool = False

    @property
    def engines(self) -> tuple[EngineHealth, ...]:
        return self.health.engines if self.health else ()


@dataclass(frozen=True, slots=True)
class Observation:
    """A deployment at one moment. `unlisted` names providers whose listing was not complete.

    `unlinked`: the router is elsewhere and no link leads to it; `routes` are what it goes on with, should it still run.
    """

    instances: tuple[InstanceView, ...]
    routes: Routes | None
    endpoint: str
    traffic: Mapping[str, Any] = field(default_factory=dict)
    unlisted: tuple[str, ...] = ()
    unlinked: bool = False

    def engine(self, replica: str) -> EngineHealth | None:
        found = (engine for view in self.instances for engine in view.engines if engine.replica == replica)
        return next(found, None)


async def observe_once(world: World) -> Observation:
    """`observe` in a session of its own. Where nothing is leased no credentials are needed, so none are made."""
    if not any(row.state.may_cost for row in world.store.leases(world.name)):
        return Observation((), None, world.router.endpoint)
    async with Agents(client_context(world.operator_tls)) as agents:
        return await observe(world, agents)


async def observe(world: World, agents: Agents) -> Observation:
    """Ask providers, agents and the router, all at once. What can't be reached is shown so, not raised."""
    rows = costing(world)
    providers = sorted({row.provider for row in rows})
    listings = await asyncio.gather(*(world.provisioner(provider).observe() for provider in providers))
    machines: dict[str, Machine] = {}
    for name, listing in zip(providers, listings, strict=True):
        machines |= matched(listing.machines, [row for row in rows if row.provider == name])
    views = await asyncio.gather(*(_view(world, agents, row, machines.get(row.lease_id)) for row in rows))
    unlinked, may_run = world.router.is_unlinked, world.router.may_run
    return Observation(
        instances=tuple(views),
        routes=world.router.routes() if may_run else None,
        endpoint=world.router.endpoint,
        traffic=await _traffic(world) if may_run else {},
        unlisted=tuple(name for name, listing in zip(providers, listings, strict=True) if not listing.complete),
        unlinked=unlinked,
    )


def fleet_state(
    seen: Observation, wanted: Plan, specs: Mapping[str, EngineSpec], in_force: Plan | None, code: str = ""
) -> FleetState:
    """The observation in the reconciler's words. `specs` are the wanted plan's engines by replica, `in_force` is the
    plan that the deployment was last given: the router may still follow another's, whose routes nobody asks for.
    `code` is what agents should run (a payload's digest); empty, any will do. Routes of a router that no link leads to
    count for none: who puts them in force links it again."""
    routes = None if seen.unlinked else seen.routes
    replicas = {replica.id: replica for replica in wanted.replicas}
    running = [
        _running(view.lease, engine, engine.spec, specs.get(engine.replica), replicas.get(engine.replica))
        for view in seen.instances
        for engine in view.engines
        if engine.spec is not None and engine.state not in ENDED
    ]
    routed = in_force is not None and routes is not None and routes.plan_id in ("", in_force.plan_id)
    return FleetState(
        instances=tuple(
            RunningInstance(
                lease_id=view.lease.lease_id,
                instance_id=view.lease.instance,
                offer_id=view.lease.offer_id,
                prepared=view.health is not None and (_runs_engines(view) or not _is_outdated(view, code)),
                ready=view.lease.state is LeaseState.READY,
                outdated=_is_outdated(view, code) and _runs_engines(view),
            )
            for view in seen.instances
            if view.lease.state.runs
        ),
        replicas=tuple(running),
        phases=phases_in_force(routes),
        routes=in_force.routes if routed and in_force else (),
        epoch=routes.epoch if routes else 0,
    )


def of_plan(views: Iterable[InstanceView], plan: Plan) -> dict[str, InstanceView]:
    """The plan's instances that are leased, by id."""
    offers = {one.id: one.offer_id for one in plan.instances}
    return {view.lease.instance: view for view in views if offers.get(view.lease.instance) == view.lease.offer_id}


def addresses_of(plan: Plan, views: Iterable[InstanceView], routes: Routes) -> dict[str, ReplicaAddress]:
    """Where each replica's agent was reached just now, else what the routes say."""
    found, there = {one.id: one for one in routes.replicas}, of_plan(views, plan)
    for replica in plan.replicas:
        view = there.get(replica.instances[0])
        if view and view.agent and view.health:
            found[replica.id] = address_of(replica, view.agent, view.health)
    return found


def _runs_engines(view: InstanceView) -> bool:
    return any(engine.state not in ENDED for engine in view.engines)


def _is_outdated(view: InstanceView, code: str) -> bool:
    """Whether its agent runs other code than that. Where no engine of its runs, it is as one that is not prepared."""
    return view.health is not None and bool(code) and view.health.version != code


def _running(
    lease: LeaseRow, engine: EngineHealth, found: EngineSpec, wanted: EngineSpec | None, replica: Replica | None
) -> RunningReplica:
    stages = running_stages(found, wanted, lease.instance, replica)
    leases = (lease.lease_id,) * len(stages)
    return RunningReplica(engine.replica, stages, leases, engine.state == "ready", engine.state == "draining")


def phases_in_force(routes: Routes | None) -> dict[str, Phase]:
    """The phase of each replica in the epoch that the router follows."""
    return {replica.id: replica.phase for replica in routes.replicas} if routes else {}


async def _view(world: World, agents: Agents, row: LeaseRow, machine: Machine | None) -> InstanceView:
    if machine is None:
        return InstanceView(row, problem="the provider does not list it")
    if machine.problem:
        return InstanceView(row, machine, problem=machine.problem)
    agent = None
    try:
        agent = await agent_of(world, agents, row, machine)
        return InstanceView(row, machine, agent, await agent.health())
    except HostError as error:
        return InstanceView(row, machine, agent, problem=machine.trouble or error.message)


async def agent_of(world: World, agents: Agents, row: LeaseRow, machine: Machine) -> AgentClient:
    """The client of an instance's agent, as it is reached from here.

    Its port is fixed where only certain ports lead in; else its own file on the machine names it. Raises HostError.
    """
    if machine.address and (outer := machine.ports.get(AGENT_PORT)):
        return agents.at(row.lease_id, machine.address, outer)
    transport = world.provisioner(row.provider).transport(machine)
    said = await transport.get(AGENT_FILE)
    try:
        port = json.loads(said)["port"]
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(f"{AGENT_FILE} of {row.instance} does not say where its agent listens: {error!r}.") from error
    return agents.at(row.lease_id, machine.address, machine.ports.get(port, port))


async def _traffic(world: World) -> dict[str, Any]:
    try:
        return await world.router.observed()
    except HostError as error:
        return {"problem": error.message}
