"""`Site`: one plan while it is brought up, as all rooms see it. The plan changes when machines are replaced."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from planner.deployment import Instance, Plan
from planner.document import plan_to_json
from planner.errors import HostError, Incomplete
from provisioners.base import Listing, Machine, Provisioner
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.observe import Pace
from runtime.messages import EngineSpec
from thunderctl.deploying.apply import Narrate
from thunderctl.deploying.joined import Joined
from thunderctl.deploying.turns import Throughout, Turn
from thunderctl.fleet.leased_twice import chosen
from thunderctl.observing.observe import agent_of
from thunderctl.processes.agents import AgentClient, Agents
from thunderctl.spec.spec import Spec
from thunderctl.world import World

Amended = Callable[[Plan, str], None]
"""Told of every plan that takes the place of the one before, and why it does."""


@dataclass(slots=True)
class Site:
    """What is known of a deployment that is coming up: by instance its agent and its machine, and what was tried.

    `tried` is what could not be had or was of no use, for whichever instance, `replaced` how often one was replaced;
    `silent` are the leases whose machines nobody gets onto now, though their provider says that they run.
    `unwanted` are the leases that are to be released in the end. `turn` is how whatever is changed gets the lock.
    `until` is when leases end that are made from now on (seconds since the epoch); None: each `max_hours` later.
    """

    world: World
    plan: Plan
    spec: Spec
    engines: dict[str, EngineSpec]
    agents: Agents
    pace: Pace
    max_hours: float
    narrate: Narrate
    amended: Amended
    unwanted: frozenset[str] = frozenset()
    turn: Turn = field(default_factory=Throughout)
    until: float | None = None
    clients: dict[str, AgentClient] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    tried: list[Instance] = field(default_factory=list)
    replaced: Counter[str] = field(default_factory=Counter)
    silent: set[str] = field(default_factory=set)
    _listings: dict[str, Joined[Listing]] = field(default_factory=dict)

    def adopt(self, plan: Plan, why: str) -> None:
        """Commit that this is the plan to be brought up from now on, before anything is done by it."""
        store, name = self.world.store, self.world.name
        store.save_plan(plan.plan_id, name, plan_to_json(plan))
        store.save_deployment(replace(store.deployment(name), plan_id=plan.plan_id))
        store.record(name, "plan.amended", why)
        self.plan = plan
        self.amended(plan, why)

    def clock(self) -> float:
        """Seconds by the clock that all waiting here goes by."""
        return asyncio.get_running_loop().time()

    def provisioner(self, instance_id: str) -> Provisioner:
        return self.world.provisioner(self.plan.instance(instance_id).provider)

    async def listing(self, provider: str) -> Listing:
        """The provider's next listing: one for all who wait for it."""
        if provider not in self._listings:
            provisioner = self.world.provisioner(provider)
            every_s = 0.0 if provisioner.consistent else self.pace.poll_s
            self._listings[provider] = Joined(provisioner.observe, every_s)
        return await self._listings[provider].next()

    async def when(self, lease_id: str, is_so: Callable[[LeaseRow], bool]) -> LeaseRow:
        """The lease once somebody else has brought that about. Raises Incomplete after the pace's patience."""
        began = self.clock()
        while True:
            row = self.world.store.lease(lease_id)
            assert row is not None
            if is_so(row):
                return row
            if self.pace.patience_s is not None and self.clock() - began >= self.pace.patience_s:
                raise Incomplete(
                    f"Lease {lease_id} of {row.instance} is {row.state} still, after {self.clock() - began:.0f} s.",
                    hint="The controller looks after it, if one runs: thunderctl status.",
                )
            await self.pace.sleep(self.pace.poll_s)

    def rows(self) -> list[LeaseRow]:
        """The leases of machines that are known to exist and are wanted."""
        return [row for row in self.world.store.leases(self.world.name) if row.state.runs]

    @property
    def cut_off(self) -> bool:
        """Whether nobody gets from here onto any machine that was ready before: the way is closed, not the machines."""
        ready = {row.lease_id for row in self.rows() if row.state is not LeaseState.CREATED}
        return bool(ready) and ready <= self.silent

    def leased(self, instance_id: str) -> LeaseRow | None:
        """The lease that is the plan's instance."""
        place = (instance_id, self.plan.instance(instance_id).offer_id)
        rows = (row for row in self.rows() if row.lease_id not in self.unwanted)
        return chosen(row for row in rows if (row.instance, row.offer_id) == place)

    async def agent(self, instance_id: str) -> AgentClient:
        """The agent of an instance, found by its lease where nobody has met it yet."""
        if instance_id not in self.clients:
            row = self.leased(instance_id)
            if row is None:
                raise HostError(f"Instance {instance_id} has no lease.", hint="Run `thunderctl up` again.")
            await self.meet(row, await self._machine(row))
        return self.clients[instance_id]

    async def meet(self, row: LeaseRow, machine: Machine) -> AgentClient:
        """The agent on a machine, remembered as its instance's."""
        agent = await agent_of(self.world, self.agents, row, machine)
        self.clients[row.instance], self.machines[row.instance] = agent, machine
        return agent

    def forget(self, instance_id: str) -> None:
        """Its machine is no longer the instance."""
        self.clients.pop(instance_id, None)
        self.machines.pop(instance_id, None)

    async def _machine(self, row: LeaseRow) -> Machine:
        machines = (await self.listing(row.provider)).machines
        machine = next((machine for machine in machines if machine.provider_id == row.provider_id), None)
        if machine is None:
            raise HostError(f"{row.provider} does not list {row.provider_id} of instance {row.instance}.")
        return machine
