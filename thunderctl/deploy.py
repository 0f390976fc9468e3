"""What each step does to the world: `Deployer` is the `do` that `apply` is given."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from planner.deployment import Plan, Replica
from planner.errors import HostError, ReplicaUnhealthy
from planner.reconcile import Step, StepKind
from provisioners.base import Machine
from provisioners.bootstrap import HostSpec, prepare
from provisioners.leases.acquire import Intent, acquire
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.observe import Pace
from provisioners.leases.release import release
from runtime.agent.config import AgentConfig
from runtime.messages import AgentHealth, EngineHealth, EngineSpec, ReplicaAddress
from runtime.tls import AUTHORITY_CERTIFICATE, CERTIFICATE, PRIVATE_KEY
from thunderctl.agents import AgentClient, Agents
from thunderctl.engines import pool_bytes, served_name
from thunderctl.home import owner_id
from thunderctl.observe import agent_of
from thunderctl.payload import Payload, host_scripts
from thunderctl.routing import drain, push_plan
from thunderctl.spec import Spec
from thunderctl.world import World

HEALTH_EVERY_S = 0.5
AGENT_DEADLINE_S = 30.0
LOOPBACK, ANY_ADDRESS = "127.0.0.1", "0.0.0.0"
"""Where agents listen: on a host of our own for itself alone, elsewhere for the other instances."""

CREDENTIALS = (AUTHORITY_CERTIFICATE, CERTIFICATE, PRIVATE_KEY)

Narrate = Callable[[str, str], None]


@dataclass(slots=True)
class Deployer:
    """Carries out one plan's steps on one deployment. `narrate(subject, text)` is told of long waits."""

    world: World
    plan: Plan
    spec: Spec
    engines: dict[str, EngineSpec]
    engine_python: str
    payload: Payload
    agents: Agents
    narrate: Narrate
    max_hours: float
    _clients: dict[str, AgentClient] = field(default_factory=dict)
    _machines: dict[str, Machine] = field(default_factory=dict)

    async def do(self, step: Step) -> None:
        match step.what:
            case StepKind.LEASE:
                await self._lease(step.id)
            case StepKind.PREPARE:
                await self._prepare(step.id)
            case StepKind.START:
                await self._start(self.plan.replica(step.id))
            case StepKind.ROUTE:
                await self._route()
            case StepKind.DRAIN:
                await drain(self.world, step.id, self.narrate)
            case StepKind.STOP:
                await self._stop(step.id)
            case StepKind.RELEASE:
                await self._release(step.id)
        self.world.store.record(self.world.name, f"step.{step.what}", f"{step.what} {step.id} {step.detail}".strip())

    async def _lease(self, instance_id: str) -> None:
        instance = self.plan.instance(instance_id)
        until = time.time() + timedelta(hours=self.max_hours).total_seconds()
        await acquire(
            self.world.store,
            self.world.provisioner(instance.provider),
            Intent(owner_id(), self.world.name, self.plan.plan_id, instance, until),
            budget_usd_per_hour=self.plan.budget_usd_per_hour,
        )

    async def _prepare(self, instance_id: str) -> None:
        row = self._row(instance_id)
        machine = await self._machine(row)
        await prepare(
            self.world.provisioner(row.provider).transport(machine),
            self._host(row, machine),
            narrate=lambda text: self.narrate(instance_id, text),
        )
        agent = await agent_of(self.world, self.agents, row, machine)
        await self._agent_answers(agent)
        self._clients[instance_id] = agent
        if row.state is LeaseState.CREATED:
            self.world.store.update_lease(row.moved(LeaseState.READY), was=LeaseState.CREATED)

    async def _machine(self, row: LeaseRow) -> Machine:
        machines = (await self.world.provisioner(row.provider).observe()).machines
        machine = next((machine for machine in machines if machine.provider_id == row.provider_id), None)
        if machine is None:
            raise HostError(f"{row.provider} does not list {row.provider_id} of instance {row.instance}.")
        self._machines[row.instance] = machine
        return machine

    def _host(self, row: LeaseRow, machine: Machine) -> HostSpec:
        config = AgentConfig(
            instance=row.lease_id,
            deployment=self.world.name,
            host=LOOPBACK if machine.address == LOOPBACK else ANY_ADDRESS,
            advertise_host=machine.address,
            dialled=machine.dialled,
            pool_bytes=pool_bytes(self.plan, self.spec),
            version=self.payload.digest,
        )
        tls = self.world.agent_tls(row.lease_id)
        return HostSpec(
            engine_python=machine.engine_python or self.engine_python,
            payload=self.payload.data,
            payload_digest=self.payload.digest,
            agent_config=json.dumps(config.to_json(), indent=1).encode(),
            tls={name: (tls / name).read_bytes() for name in CREDENTIALS},
            scripts=host_scripts(),
            model=next(iter(self.engines.values())).model,
        )

    async def _agent_answers(self, agent: AgentClient) -> None:
        deadline = time.monotonic() + AGENT_DEADLINE_S
        while True:
            try:
                await agent.health()
                return
            except HostError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(HEALTH_EVERY_S)

    async def _start(self, replica: Replica) -> None:
        agent = await self._agent(replica.instances[0])
        await agent.start(self.engines[replica.id])
        started = time.monotonic()
        while True:
            engine = _engine(await agent.health(), replica.id)
            if engine.state == "ready":
                return
            waited = time.monotonic() - started
            if engine.state == "failed":
                raise ReplicaUnhealthy(
                    f"The engine of {replica.id} ended before it was ready: {engine.detail}",
                    hint=f"See all of its log: thunderctl logs {replica.id}",
                )
            if waited > self.spec.leases.ready_deadline_s:
                log = await agent.log(replica.id, 20)
                raise ReplicaUnhealthy(f"{replica.id} was not ready after {waited:.0f} s. The end of its log:\n{log}")
            self.narrate(replica.id, f"engine starting, {waited:.0f} s")
            await asyncio.sleep(HEALTH_EVERY_S)

    async def _route(self) -> None:
        await self._introduce()
        addresses = {}
        for replica in self.plan.replicas:
            agent = await self._agent(replica.instances[0])
            url = f"{agent.url}/r/{replica.id}"
            addresses[replica.id] = ReplicaAddress(replica.id, replica.phase, url, server_name=agent.name)
        name = served_name(self.plan, self.spec)
        await push_plan(self.world, self.plan, addresses, name, self.spec.serve)

    async def _introduce(self) -> None:
        """Tell agents that no other can dial whom they shall dial, each so that KV can leave its instance."""
        agents = {instance.id: await self._agent(instance.id) for instance in self.plan.instances}
        reached = [agent.address for name, agent in agents.items() if self._machines[name].dialled]
        for name, agent in agents.items():
            if not self._machines[name].dialled:
                await agent.dial(reached)
                if not reached:
                    self.narrate(name, "no agent can be dialled, neither this one nor any other: KV can't cross")

    async def _stop(self, replica_id: str) -> None:
        for row in self._rows():
            agent = await self._agent(row.instance)
            if any(engine.replica == replica_id for engine in (await agent.health()).engines):
                await agent.stop(replica_id)

    async def _release(self, lease_id: str) -> None:
        row = next(row for row in self._rows() if row.lease_id == lease_id)
        await release(
            self.world.store,
            self.world.provisioner(row.provider),
            [lease_id],
            owner_id=owner_id(),
            deployment=self.world.name,
            reason="not in the plan",
            pace=pace_of(self.spec),
        )

    async def _agent(self, instance_id: str) -> AgentClient:
        if instance_id not in self._clients:
            row = self._row(instance_id)
            self._clients[instance_id] = await agent_of(self.world, self.agents, row, await self._machine(row))
        return self._clients[instance_id]

    def _rows(self) -> list[LeaseRow]:
        return [row for row in self.world.store.leases(self.world.name) if row.state.runs]

    def _row(self, instance_id: str) -> LeaseRow:
        row = next((row for row in self._rows() if row.instance == instance_id), None)
        if row is None:
            raise HostError(f"Instance {instance_id} has no lease.", hint="Run `thunderctl up` again.")
        return row


def pace_of(spec: Spec, patience_s: float = 600.0) -> Pace:
    """The waiting that `[leases]` of a spec asks for."""
    return Pace(settle_s=spec.leases.settle_s, poll_s=spec.leases.poll_s, patience_s=patience_s)


def _engine(health: AgentHealth, replica_id: str) -> EngineHealth:
    found = (engine for engine in health.engines if engine.replica == replica_id)
    return next(found, EngineHealth(replica_id, "failed", detail="the agent does not know it"))
