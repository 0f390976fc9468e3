"""Machines in the place of lost ones, brought up while everything else goes on: the lock is held for changes alone.

Only the instances that it is for are leased; the others are taken as they stand. What is wanted of an instance is read
anew before each change: limits, notices, `down` and rebalances come in between. Each instance goes its own way, and
serves as soon as it can.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial

from planner.deployment import Plan
from planner.errors import Incomplete, Refused, ThunderError
from planner.reconcile import Step, StepKind, reconcile
from provisioners.crash import crash_point
from provisioners.leases.journal import LeaseState
from provisioners.leases.limits import WARN_S
from runtime.tls import client_context
from thunderctl.deploying.apply import Narrate, Report, StepResult, StepState, apply
from thunderctl.deploying.bring_up import unheard
from thunderctl.deploying.deploy import Deployer, pace_of
from thunderctl.deploying.doors import let_operator_in
from thunderctl.deploying.lifecycle import check_host, check_money, engine_specs, plan_in_force
from thunderctl.deploying.partly import routed_of
from thunderctl.deploying.routes import route, route_over
from thunderctl.deploying.site import Amended, Site
from thunderctl.deploying.turns import Turns
from thunderctl.deploying.wanted_again import due
from thunderctl.fleet.resting import Resting, but_for, cost_at_rest, replicas_at_rest
from thunderctl.hosts.hosts import list_weights
from thunderctl.observing.observe import fleet_state, observe_once
from thunderctl.processes.agents import Agents
from thunderctl.store.locks import Held
from thunderctl.store.values import DeploymentState
from thunderctl.world import World

OURS = (StepKind.LEASE, StepKind.PREPARE, StepKind.START)
CRASHES = {StepKind.LEASE: "R1", StepKind.PREPARE: "R2", StepKind.START: "R3", StepKind.ROUTE: "R4"}


async def refill(
    world: World,
    instances: Collection[str],
    *,
    take: Callable[[], AbstractContextManager[Held]],
    max_hours: float,
    report: Report,
    narrate: Narrate,
    amended: Amended = unheard,
    until: float | None = None,
) -> tuple[StepResult, ...]:
    """Bring these instances of the plan that is wanted up, and put their replicas into the routes beside those that
    are there. `take` takes the deployment's lock, which the caller does not hold; leases made end at `until` (seconds
    since the epoch), however long the lock is waited for, or `max_hours` after they were made where that is None.
    """
    plan, spec = wanted_by(world), world.spec()
    unknown = sorted(set(instances) - {one.id for one in plan.instances})
    if unknown:
        raise Refused(f"Plan {plan.plan_id} has no instance {', '.join(unknown)}: nothing is replaced there.")
    check_host(world, plan, spec)
    await list_weights(world, plan, spec)
    await let_operator_in(world, {row.provider for row in world.store.leases(world.name) if row.state.runs})
    async with Agents(client_context(world.operator_tls)) as agents:
        site = Site(world, plan, spec, engine_specs(plan, spec), agents, pace_of(spec), max_hours, narrate, amended)
        site.until = until
        wish = Wish(site)
        site.turn = Turns(take, wish.look, wish.note)
        deployer, ways = Deployer(site, report), await ways_to(site, instances)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_gone(deployer, name, steps, report)) for name, steps in ways.items()]
        finally:
            await deployer.leaving.abandon()
    results = tuple(result for task in tasks for result in task.result())
    for result in results:
        if result.state is StepState.FAILED:
            world.store.record(world.name, "step.failed", f"{result.step.what} {result.step.id}: {result.error}")
    return results


def absent(world: World, plan: Plan) -> tuple[str, ...]:
    """The plan's instances that have no machine and are not to rest."""
    at_rest = Resting.from_json(world.store.deployment(world.name).resting).of(plan)
    leased = {row.instance for row in world.store.leases(world.name) if row.state.may_cost}
    return tuple(one.id for one in plan.instances if one.id not in leased | at_rest)


def error_of(results: Sequence[StepResult]) -> ThunderError | None:
    """The first that a step failed with."""
    return next((result.error for result in results if result.error), None)


async def ways_to(site: Site, instances: Collection[str]) -> Mapping[str, tuple[Step, ...]]:
    """By instance: what is left to do until its replicas serve. Looked for without the lock: each step looks again."""
    plan, seen = site.plan, await observe_once(site.world)
    steps = reconcile(plan, fleet_state(seen, plan, site.engines, plan))
    everybody = {one.id for one in plan.instances}
    used = {name for replica in plan.replicas for name in replica.instances}
    return {
        name: (
            *(one for one in but_for(steps, plan, everybody - {name}) if one.what in OURS),
            *([Step(StepKind.ROUTE, "routes", f"{name} beside those that serve")] if name in used else []),
        )
        for name in sorted(instances)
    }


class Wish:
    """What is wanted of each instance that is brought up, against what it was when its last change was made."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._places = {one.id: _place(site.plan, one.id) for one in site.plan.instances}

    def note(self, instance_id: str) -> None:
        """A change was made for it: it may be another machine now."""
        self._places[instance_id] = _place(self._site.plan, instance_id)

    def look(self, instance_id: str) -> None:
        """Read again what is wanted, and go on with that (empty: no instance is asked for). The caller holds the lock.

        Raises Refused where the instance is not to be brought up any more.
        """
        site = self._site
        site.plan = now = wanted_by(site.world)
        if not instance_id:
            return
        if _place(now, instance_id) != self._places[instance_id]:
            raise Refused(f"Plan {now.plan_id} is wanted by now, which has {instance_id} as another machine, or not.")
        at_rest = Resting.from_json(site.world.store.deployment(site.world.name).resting).of(now)
        if instance_id in at_rest:
            raise Refused(f"{instance_id} is to rest by now.")
        row = site.leased(instance_id)
        if row is None:
            _refuse_more(site, at_rest)
        elif row.state is LeaseState.DRAINING:
            raise Refused(f"The machine of {instance_id} is being released: {row.reason}")


def _refuse_more(site: Site, at_rest: frozenset[str]) -> None:
    """Raise Refused where no machine may be leased any more: money or time has come to its end meanwhile.

    The spec's limits are read again: an `up` may have committed smaller ones.
    """
    world = site.world
    site.spec = site.spec.model_copy(update={"budget": world.spec().budget})
    if site.until is not None and site.until - time.time() <= WARN_S:
        raise Refused(f"Leases are to end within {WARN_S / 3600:.0f} h: nothing is leased for so short a time.")
    leased = {row.instance for row in site.rows()}
    absent = at_rest | {one.id for one in site.plan.instances if one.id not in leased}
    check_money(world, site.plan, site.spec, at_rest_usd_per_hour=cost_at_rest(site.plan, absent))
    if ending := due(world, site.spec):
        raise Refused(f"Nothing is leased while a limit ends machines: {next(iter(ending.values()))}")


def wanted_by(world: World) -> Plan:
    """The plan that a deployment which serves is to have. Raises Refused where it serves no more: what was taken down
    meanwhile is not brought up again.
    """
    plan = plan_in_force(world)
    if plan is None or world.store.deployment(world.name).state is not DeploymentState.SERVING:
        raise Refused(f"Deployment {world.name} serves no more: nothing is replaced.")
    return plan


def _place(plan: Plan, instance_id: str) -> tuple[object, ...]:
    """The machine that the plan has the instance as, and the engines there, in whatever phase."""
    offers = [(one.provider, one.offer_id) for one in plan.instances if one.id == instance_id]
    engines = [(one.id, one.tp, one.stages) for one in plan.replicas if instance_id in one.instances]
    return (offers, engines)


async def _gone(deployer: Deployer, name: str, steps: Sequence[Step], report: Report) -> tuple[StepResult, ...]:
    """One instance's way, step by step."""
    site = deployer.site

    async def do(step: Step) -> None:
        if step.what is StepKind.ROUTE:
            await site.turn.change(name, partial(_routed, site, name))
        else:
            await deployer.do(step)
        crash_point(CRASHES[step.what])

    subjects = {replica.id: replica.instances for replica in site.plan.replicas}
    return await apply(steps, do, subjects=subjects, report=report, clock=site.clock)


async def _routed(site: Site, name: str) -> None:
    """Routes over what they are over now and the replicas on that instance, but for those whose machines leave."""
    routed = routed_of(site)
    if routed is None:
        raise Incomplete(f"{name} is ready; the routes in force are another plan's, which are not touched for it.")
    mine = {one.id for one in site.plan.replicas if name in one.instances}
    resting = Resting.from_json(site.world.store.deployment(site.world.name).resting)
    at_rest = replicas_at_rest(site.plan, resting.of(site.plan))
    there = {one.id for one in site.plan.instances if (row := site.leased(one.id)) and row.state is LeaseState.READY}
    can = {one.id for one in site.plan.replicas if there.issuperset(one.instances)} - at_rest
    serving = can & (routed | mine if routed else can)
    if not mine <= serving:
        raise Incomplete(f"{name} is not ready any more, and is in no routes.")
    if serving == {one.id for one in site.plan.replicas}:
        await route(site)
    else:
        await route_over(site, serving)
    world = site.world
    world.store.record(world.name, "up.replaced", f"{name} serves again, beside {len(serving - mine)} other replicas")
