"""Carries out the controller's steps. Whoever calls it holds the deployment's lock; every step may be done twice."""

import asyncio
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from planner.deployment import Plan
from planner.errors import HostError, Incomplete, ProvisioningError
from planner.workload import Workload
from provisioners.crash import crash_point
from provisioners.leases.journal import Cause, LeaseRow, LeaseState
from provisioners.leases.release import ask_release
from thunderctl.controller.adapting.putting import put_in_force
from thunderctl.controller.heard import Heard
from thunderctl.controller.listings import Listings
from thunderctl.controller.missing_trace import MissingTrace
from thunderctl.controller.process import COMMAND
from thunderctl.controller.reroute import plan_over
from thunderctl.controller.steps import (
    Close,
    ControlStep,
    Drain,
    Keep,
    Rebalance,
    Release,
    Replace,
    Resize,
    Route,
    Stop,
)
from thunderctl.demand import observed_workload, stated_workload
from thunderctl.deploying.lifecycle import flips_from, flips_said, record_rebalance
from thunderctl.deploying.replacers import MOST
from thunderctl.deploying.routing import push_routes
from thunderctl.deploying.wanted_again import keep
from thunderctl.fleet.resting import Resting
from thunderctl.observing.known_leases import Costing
from thunderctl.observing.links import known_links, measured_links
from thunderctl.observing.observe import Observation
from thunderctl.spec.inputs import forced_codec
from thunderctl.spec.spec import Spec
from thunderctl.world import World


@dataclass(slots=True)
class Actor:
    """The controller's hands. Raises ThunderError for what could not be done now.

    Routes that were found and could not be put in force are kept for the next try.
    """

    world: World
    listings: Listings
    missing: MissingTrace
    _ups: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    _chosen: tuple[str, frozenset[str], Plan, str] | None = None

    async def do(self, step: ControlStep, heard: Heard) -> str:
        """Do it, and say what there is to say of how it went."""
        match step:
            case Drain(lease_id, reason, cause):
                self._drain(self._row(lease_id), reason, cause)
            case Keep(lease_id):
                keep(self.world, self._row(lease_id))
            case Resize(resting):
                self._resize(resting)
            case Route(replicas):
                return await self._route(replicas, heard)
            case Close():
                await self.world.router.close()
            case Stop():
                await self.world.router.stop()
            case Release(lease_id, reason):
                await self._release(self._row(lease_id), reason)
            case Rebalance(proposal):
                return await put_in_force(self.world, proposal, heard)
            case Replace(instances, _, until):
                self._replace(instances, until)
            case _:
                assert_never(step)
        return ""

    def reap(self) -> None:
        """Let each `up` that has ended go: nobody else can."""
        self._ups = [one for one in self._ups if one.poll() is None]

    def _drain(self, row: LeaseRow, reason: str, cause: Cause | None) -> None:
        if row.state is not LeaseState.DRAINING:
            draining = replace(row.moved(LeaseState.DRAINING, reason=reason), drained_for=cause)
            self.world.store.update_lease(draining, was=row.state)
            crash_point("K1")

    def _resize(self, resting: Resting) -> None:
        store = self.world.store
        store.save_deployment(replace(store.deployment(self.world.name), resting=resting.to_json()))
        crash_point("K3")

    async def _route(self, replicas: frozenset[str], heard: Heard) -> str:
        """Decided in a thread: agents are not kept waiting by a search."""
        assert heard.routing is not None
        assert heard.routes is not None
        plan, spec = heard.routing.plan, self.world.spec()
        if self._chosen is None or self._chosen[:2] != (plan.plan_id, replicas):
            links = known_links(plan, {}, measured_links(Observation(heard.views, heard.routes, ""))).links
            workload = await self._workload(heard, spec)
            found = await asyncio.to_thread(plan_over, plan, replicas, workload, codec=forced_codec(spec), links=links)
            self._chosen = (plan.plan_id, replicas, *found)
        *_, chosen, how = self._chosen
        serving = spec.serve.model_copy(update={"listen": self.world.router.listened(spec.serve.listen)})
        epoch = await push_routes(
            self.world, chosen, heard.addresses, heard.routes.model, serving, plan_id=heard.routing.plan.plan_id
        )
        self._chosen = None
        crash_point("K2")
        flips = flips_from(heard.routes, chosen)
        if heard.routing.behind:
            record_rebalance(self.world, epoch, flips)
        flipped = f" ({flips_said(flips)})" if flips else ""
        return f"epoch {epoch} over {', '.join(sorted(replicas))}{flipped}, {how}"

    async def _workload(self, heard: Heard, spec: Spec) -> Workload:
        """What the router saw last, where it saw enough; else what the spec says is coming, or what the plan knows of
        it where that can't be read."""
        assert heard.routing is not None
        try:
            observed = await self.world.router.observed() if heard.routing.running else {}
        except HostError:
            observed = {}
        if found := observed_workload(observed, heard.routing.plan):
            return found
        stated, unread = await asyncio.to_thread(stated_workload, spec, heard.routing.plan)
        self.missing.note(unread)
        return stated

    async def _release(self, row: LeaseRow, reason: str) -> None:
        provisioner = self.world.provisioner(row.provider)
        await ask_release(
            Costing(self.world.store), provisioner, [row.lease_id], deployment=self.world.name, reason=reason
        )
        self.listings.asked(row.lease_id)
        asked = self._row(row.lease_id)
        if not asked.release_taken:
            raise ProvisioningError(f"{row.provider} did not take it: {asked.reason}.")

    def _replace(self, instances: Sequence[str], until: float | None) -> None:
        """Run `up` for these: it finds offers, leases them and brings them up, and says in events how that went.

        It goes on with the plan and the spec that are in force, and takes the lock for each change alone.
        """
        self.reap()
        if len(self._ups) >= MOST:
            raise Incomplete(f"{MOST} replacements are under way.")
        named = (word for one in instances for word in ("--only", one))
        lasts = () if until is None else ("--until", f"{until:.0f}")
        with self.world.controller.log.open("ab") as log:
            self._ups.append(
                subprocess.Popen(
                    [*COMMAND, "--deployment", self.world.name, "up", "--yes", "--replacing", *named, *lasts],
                    cwd=self.world.controller.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def _row(self, lease_id: str) -> LeaseRow:
        row = self.world.store.lease(lease_id)
        assert row is not None
        return row
