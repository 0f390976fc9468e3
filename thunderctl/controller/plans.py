"""The plans that a controller meets: which one the routes should be of, and which machines were replaced in between."""

from collections.abc import Collection
from dataclasses import dataclass, field

from planner.deployment import Plan
from planner.document import plan_from_json
from runtime.messages import Routes
from thunderctl.deploying.lifecycle import lineage
from thunderctl.fleet.same_engines import Place, takes_over
from thunderctl.store.values import DeploymentState
from thunderctl.world import World


@dataclass(slots=True)
class Plans:
    """Each is read from the store once: a plan never changes."""

    world: World
    _known: dict[str, Plan] = field(default_factory=dict)
    _lineages: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, plan_id: str) -> Plan:
        if plan_id not in self._known:
            self._known[plan_id] = plan_from_json(self.world.store.plan(plan_id, self.world.name).document)
        return self._known[plan_id]

    def to_route(self, routes: Routes, leased: Collection[Place], ready: Collection[str]) -> tuple[Plan, bool]:
        """The plan whose routes should be in force, and whether they still are of another: whoever wanted this one was
        killed, or found no router, before its routes were. Else the plan that they are of.

        Not one whose further replicas are not all `ready`: an `up` is half-way to it, or has failed, and what serves
        now must not be given up for it.
        """
        deployment = self.world.store.deployment(self.world.name)
        routed = self.of(routes.plan_id or deployment.plan_id)
        if deployment.state is not DeploymentState.SERVING or deployment.plan_id in ("", routed.plan_id):
            return routed, False
        wanted = self.of(deployment.plan_id)
        further = {one.id for one in wanted.replicas} - {one.id for one in routed.replicas}
        there = takes_over(wanted, routed, leased) and further <= set(ready)
        return (wanted, True) if there else (routed, False)

    def replaced(self, routed: Plan, wanted_id: str) -> tuple[str, ...]:
        """The instances that the plan wanted has and the routed one has not, where it only took over from that."""
        if wanted_id in ("", routed.plan_id):
            return ()
        if wanted_id not in self._lineages:
            self._lineages = {wanted_id: lineage(self.world, self.of(wanted_id))}
        if routed.plan_id not in self._lineages[wanted_id]:
            return ()
        return tuple(one.id for one in self.of(wanted_id).instances if one not in routed.instances)
