"""What each step does to the world: `Deployer` is the `do` that `apply` is given, and sends steps to their rooms."""

import asyncio
from functools import partial
from typing import assert_never

from planner.errors import HostError, HostUnfit
from planner.reconcile import Step, StepKind
from provisioners.leases.journal import LeaseRow
from provisioners.leases.observe import Pace
from provisioners.leases.release import NOT_PLANNED, ask_release, release
from thunderctl.deploying.apply import Report, StepResult, apply
from thunderctl.deploying.booting import booted
from thunderctl.deploying.leasing import lease
from thunderctl.deploying.leaving import Leaving
from thunderctl.deploying.market import rentable
from thunderctl.deploying.preparing import prepared
from thunderctl.deploying.replacing import Replacing
from thunderctl.deploying.routes import route, route_without
from thunderctl.deploying.routing import drain, finished
from thunderctl.deploying.site import Site
from thunderctl.deploying.starting import start, stop
from thunderctl.home import owner_id
from thunderctl.spec.spec import Spec


class Deployer:
    """Carries out one plan's steps on one deployment; the plan is `site.plan`, and changes with its machines.

    `leaving` are machines that turned out to be of no use: whoever made this waits for them in the end.
    """

    def __init__(self, site: Site, report: Report) -> None:
        self.site = site
        self.leaving = Leaving(site.world.store, self._let_go)
        self._report = report
        self._replacing = Replacing(site, self.leaving, lambda: rentable(site))

    async def do(self, step: Step) -> None:
        match step.what:
            case StepKind.LEASE:
                await self._replacing.until_it_stands(step.id, lambda: self._leased(step.id))
            case StepKind.PREPARE if step.again:
                await self._prepared(step.id)
            case StepKind.PREPARE:
                await self._replacing.until_it_stands(step.id, lambda: self._prepared(step.id))
            case StepKind.START:
                await start(self.site, self.site.plan.replica(step.id))
            case StepKind.ROUTE if step.without:
                await route_without(self.site, step.without)
            case StepKind.ROUTE:
                await route(self.site)
            case StepKind.DRAIN if step.again:
                await finished(self.site.world, step.id, self.site.narrate)
            case StepKind.DRAIN:
                await drain(self.site.world, step.id, self.site.narrate, lease_id=step.lease_id)
            case StepKind.STOP:
                await stop(self.site, step.id, step.lease_id)
            case StepKind.RELEASE:
                await self._released(step.id)
            case _:
                assert_never(step.what)
        world = self.site.world
        world.store.record(world.name, f"step.{step.what}", f"{step.what} {step.id} {step.detail}".strip())

    async def _leased(self, instance_id: str) -> LeaseRow:
        return self.site.leased(instance_id) or await lease(self.site, self.leaving, instance_id)

    async def _prepared(self, instance_id: str) -> None:
        """Once more where something went wrong: a line may have broken, or the machine turns out to be gone."""
        row = await self._leased(instance_id)
        try:
            await prepared(self.site, row, await booted(self.site, row))
        except HostUnfit:
            raise
        except HostError as error:
            self.site.narrate(instance_id, f"looks again, as {error.message}")
            await prepared(self.site, row, await booted(self.site, row))

    async def _released(self, lease_id: str) -> None:
        world = self.site.world
        row = next(row for row in world.store.leases(world.name) if row.lease_id == lease_id)
        if self.site.turn.beside:  # who looks at the provider between our changes proves it gone
            await self.site.turn.change("", partial(self._asked_to_go, row))
            await self.site.when(lease_id, lambda one: not one.state.may_cost)
            return
        await release(
            world.store,
            world.provisioner(row.provider),
            [lease_id],
            owner_id=owner_id(),
            deployment=world.name,
            reason=NOT_PLANNED,
            pace=self.site.pace,
        )

    async def _asked_to_go(self, row: LeaseRow) -> None:
        world = self.site.world
        seller = world.provisioner(row.provider)
        await ask_release(world.store, seller, [row.lease_id], deployment=world.name, reason=row.reason or NOT_PLANNED)

    async def _let_go(self, step: Step) -> tuple[StepResult, ...]:
        return await apply([step], self.do, subjects={}, report=self._report, clock=self.site.clock)


def pace_of(spec: Spec, patience_s: float = 600.0) -> Pace:
    """The waiting that `[leases]` of a spec asks for. It is timed by the clock that its pauses go by: the loop's."""
    return Pace(
        settle_s=spec.leases.settle_s,
        poll_s=spec.leases.poll_s,
        patience_s=patience_s,
        clock=lambda: asyncio.get_running_loop().time(),
    )
