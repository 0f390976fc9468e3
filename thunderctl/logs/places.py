"""Where logs lie, on machines and beside this host's router and controller; and which are wanted, by name."""

import os
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from planner.errors import SpecError
from provisioners.leases.journal import LeaseRow
from provisioners.local.transport import LocalTransport
from provisioners.transport import Transport
from thunderctl.deploying.lifecycle import plan_in_force
from thunderctl.observing.leased_machines import LeasedMachine, costing
from thunderctl.world import World

HERE = {"router": "router/router.log", "controller": "controller/controller.log"}
AGENT = "logs/agent.log"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Place:
    """Logs that are reached in one way: `paths` are patterns below its folder, `names` what people call each.

    `lease_id` is empty for this host. A log of no name in `names` is called by its file, with the place before it.
    """

    name: str
    paths: tuple[str, ...]
    transport: Transport
    lease_id: str = ""
    names: Mapping[str, str] = field(default_factory=dict)

    def called(self, path: str) -> str:
        file = path.rpartition("/")[2].removesuffix(".log")
        return self.names.get(path, f"{self.name}/{file}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The logs somebody asked for; all where no name was given. `hosts` are the instances of the plan's replicas."""

    given: tuple[str, ...]
    hosts: Mapping[str, str]

    @property
    def here(self) -> dict[str, str]:
        """Path → name of those that lie on this host."""
        return {path: name for name, path in HERE.items() if not self.given or name in self.given}

    def on(self, lease: LeaseRow, instances: Collection[str]) -> tuple[str, ...]:
        """The patterns of what is wanted of a machine. A name that the plan does not know may lie on any of them."""
        if not self.given:
            return ("logs/*.log",)
        if lease.instance in self.given or lease.lease_id in self.given:
            agent: tuple[str, ...] = (AGENT,)
        else:
            agent = ()
        others = [name for name in self.given if name not in HERE and name not in instances]
        replicas = [name for name in others if self.hosts.get(name, lease.instance) == lease.instance]
        return (*agent, *(f"logs/{shlex.quote(name)}.log" for name in replicas))

    def place(self, world: World, found: LeasedMachine, instances: Collection[str]) -> Place:
        """A machine's. Raises HostError where it can't be reached."""
        lease, machine = found.lease, found.there
        transport = world.provisioner(lease.provider).transport(machine)
        ours = [name for name, host in self.hosts.items() if host == lease.instance]
        names = {AGENT: lease.instance, **{f"logs/{name}.log": name for name in ours}}
        return Place(lease.instance, self.on(lease, instances), transport, lease.lease_id, names)

    def place_here(self, world: World) -> Place:
        environment = {"PATH": os.environ.get("PATH", os.defpath)}
        return Place("here", tuple(self.here), LocalTransport(world.folder, environment), names=self.here)


def wanted_logs(world: World, given: Sequence[str]) -> Wanted:
    """What is asked for by name. Raises SpecError for what can't be the name of anything."""
    for name in given:
        if not NAME.fullmatch(name):
            raise SpecError(f"Nothing can be called {name!r}; expected a replica, an instance, router or controller.")
    plan = plan_in_force(world)
    hosts = {replica.id: replica.instances[0] for replica in plan.replicas} if plan else {}
    return Wanted(tuple(dict.fromkeys(given)), hosts)


def instance_names(world: World) -> frozenset[str]:
    """Whatever a machine may be called: instances, and their leases' ids."""
    return frozenset(name for row in costing(world) for name in (row.instance, row.lease_id))


def unknown(wanted: Wanted, instances: Collection[str], found: Collection[str]) -> list[str]:
    """Names that are neither of an instance nor of the plan, and of which no log was found."""
    known = {*HERE, *instances, *wanted.hosts, *found}
    return [name for name in wanted.given if name not in known]
