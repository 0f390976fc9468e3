"""The links that agents measured between a deployment's instances, and what a plan takes of them.

A stated link comes before a measured one, a measured one before the estimate from the offers. Bandwidth is a lower
bound where the ends were what was slow (`runtime/relay/links.py`); the prices of a link are the providers' in any case.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import permutations

from planner.catalog import Link
from planner.deployment import Instance, Plan
from planner.links import Links, known_between, link_between
from runtime.messages import LinkHealth, agent_name
from thunderctl.observing.observe import Observation

RECENT_S = 3600.0
"""What was last heard from longer ago says nothing of now: agents probe a way for an hour after they last used it."""


class Basis(StrEnum):
    """What the figures of a link rest on."""

    STATED = "stated"
    MEASURED = "measured"
    ESTIMATED = "estimated"


@dataclass(frozen=True, slots=True)
class MeasuredLink:
    """The way from one instance (`source`) to another, as the agent of the other measured it."""

    source: str
    target: str
    health: LinkHealth

    @property
    def recent(self) -> bool:
        return self.health.age_s <= RECENT_S

    @property
    def link(self) -> Link | None:
        """For a plan, once both figures are there and can be meant, and as long as they are recent."""
        bandwidth, latency_ms = self.health.bandwidth_gbit_per_s, self.health.latency_ms
        if bandwidth is None or latency_ms is None or not self.recent:
            return None
        if bandwidth <= 0 or latency_ms < 0:
            return None
        return Link(bandwidth, latency_ms)


@dataclass(frozen=True, slots=True)
class KnownLinks:
    """What is known of the ways between a plan's instances. `measured` has no link that is stated as well."""

    stated: Links
    measured: Links

    @property
    def links(self) -> Links:
        return {**self.measured, **self.stated}

    def basis(self, a: Instance, b: Instance) -> Basis:
        if known_between(a, b, self.stated):
            return Basis.STATED
        return Basis.MEASURED if known_between(a, b, self.measured) else Basis.ESTIMATED


@dataclass(frozen=True, slots=True)
class PlannedLink:
    """A way between two instances as it was planned with, the time that its end takes for a transfer included."""

    source: str
    target: str
    link: Link
    basis: Basis


def measured_links(seen: Observation) -> tuple[MeasuredLink, ...]:
    """What the agents say of the ways between the instances that run."""
    running = [view for view in seen.instances if view.lease.state.runs]
    instances = {agent_name(view.lease.lease_id): view.lease.instance for view in running}
    return tuple(
        MeasuredLink(instances[link.peer], view.lease.instance, link)
        for view in running
        for link in (view.health.links if view.health else ())
        if link.peer in instances
    )


def known_links(plan: Plan, stated: Links, measured: Iterable[MeasuredLink]) -> KnownLinks:
    """What to plan with between the instances of a plan."""
    instances = {instance.id: instance for instance in plan.instances}
    measured_only = {
        (one.source, one.target): one.link
        for one in measured
        if one.link
        and {one.source, one.target} <= instances.keys()
        and not known_between(instances[one.source], instances[one.target], stated)
    }
    return KnownLinks(stated, measured_only)


def planned_links(plan: Plan, known: KnownLinks) -> tuple[PlannedLink, ...]:
    """The ways that a plan's routes take between instances, and all others of which something is known."""
    replicas = {replica.id: replica for replica in plan.replicas}
    routed = {
        (source, target)
        for route in plan.routes
        for source in replicas[route.prefill].instances
        for target in replicas[route.decode].instances
    }
    links = known.links
    ways = ((a, b, known.basis(a, b)) for a, b in permutations(plan.instances, 2))
    return tuple(
        PlannedLink(a.id, b.id, link_between(a, b, links), basis)
        for a, b, basis in ways
        if basis is not Basis.ESTIMATED or (a.id, b.id) in routed
    )
