"""Make a machine that answers into an instance: everything on it that engines need, and its agent answering us."""

import asyncio
from functools import partial
from math import inf

from planner.deployment import Plan
from planner.errors import HostError
from planner.gpus import gpu_named
from planner.requirements import OWN, fetch_s
from provisioners.base import Machine
from provisioners.bootstrap import prepare
from provisioners.leases.journal import LeaseRow, LeaseState
from thunderctl.deploying.site import Site
from thunderctl.hosts.hosts import host_spec, unreachable
from thunderctl.processes.agents import AgentClient
from thunderctl.spec.spec import Spec
from thunderctl.weights.source import LocalFolder, source_of

HEALTH_EVERY_S = 0.5
AGENT_DEADLINE_S = 30.0
TIMES_SLOWER = 3.0
"""Than its offer says may a line be, and is waited for."""
SOURCE_GBIT_PER_S = 0.5
"""No more is counted on from where weights and packages come, whatever a machine's own line could take."""


async def prepared(site: Site, row: LeaseRow, machine: Machine) -> None:
    """Its lease is READY then.

    Raises HostUnfit where no command mends the machine, HostSilent where nothing moves on it any more or all takes far
    longer than it should, and HostError for all else.
    """
    still_s = site.spec.leases.ready_deadline_s
    await prepare(
        site.world.provisioner(row.provider).transport(machine),
        await host_spec(site.world, site.plan, site.spec, row, machine),
        narrate=lambda text: site.narrate(row.instance, text),
        still_s=still_s,
        most_s=still_s + longest_fetch_s(site.plan, site.spec, row.instance),
    )
    await _answers(await site.meet(row, machine), machine)
    await site.turn.change(row.instance, partial(_committed, site, row.instance))


async def _committed(site: Site, instance_id: str) -> None:
    now = site.leased(instance_id)  # as it stands by now: its price may have moved
    if now is not None and now.state is LeaseState.CREATED:
        site.world.store.update_lease(now.moved(LeaseState.READY), was=LeaseState.CREATED)


def longest_fetch_s(plan: Plan, spec: Spec, instance_id: str) -> float:
    """How long weights and environment may take to come in, while they do: by their size and by the offer's line.

    Without limit where nothing is paid meanwhile, or where the line is the one from here.
    """
    instance = plan.instance(instance_id)
    if instance.provider in OWN or isinstance(source_of(plan, spec), LocalFolder):
        return inf
    gbit_per_s = min(instance.inet_down_gbit_per_s, SOURCE_GBIT_PER_S)
    return TIMES_SLOWER * fetch_s(plan.llm, gpu_named(instance.gpu), gbit_per_s) if gbit_per_s else inf


async def _answers(agent: AgentClient, machine: Machine) -> None:
    clock = asyncio.get_running_loop().time
    deadline = clock() + AGENT_DEADLINE_S
    while True:
        try:
            await agent.health()
            return
        except HostError as error:
            if clock() > deadline:
                raise unreachable(machine, error) from error
            await asyncio.sleep(HEALTH_EVERY_S)
