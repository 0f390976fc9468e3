"""What is in force as a value to assess: the routed plan as the router has it, and the ways that are not as planned."""

from collections.abc import Iterator
from dataclasses import replace

from planner.deployment import Plan, Route
from planner.links import Links
from planner.rebalancing.flips import without
from runtime.messages import Routes
from thunderctl.controller.adapting.assessment import MovedLink

NARROWER, WIDER = 0.5, 2.0
"""Times the planned bandwidth beyond which a way is not what was planned with."""


def as_routed(plan: Plan, routes: Routes) -> Plan:
    """The plan with the replicas, phases and routes that the router follows."""
    phases = {one.id: one.phase for one in routes.replicas}
    left = without(plan, [one.id for one in plan.replicas if one.id not in phases])
    planned = {(one.prefill, one.decode): one.bandwidth_gbit_per_s for one in plan.routes}
    return replace(
        left,
        replicas=tuple(one.flipped(phases[one.id]) for one in left.replicas),
        routes=tuple(
            Route(one.prefill, one.decode, one.share, one.codec, planned.get((one.prefill, one.decode), 0.0))
            for one in routes.routes
        ),
    )


def moved_links(plan: Plan, measured: Links) -> tuple[MovedLink, ...]:
    """The ways of its routes that were measured far from what they were planned with."""
    found = {(one.source, one.target): one for one in _measured_ways(plan, measured)}
    return tuple(one for one in found.values() if not NARROWER <= one.measured / one.planned <= WIDER)


def _measured_ways(plan: Plan, measured: Links) -> Iterator[MovedLink]:
    replicas = {one.id: one for one in plan.replicas}
    for route in plan.routes:
        ends = replicas[route.prefill].instances[0], replicas[route.decode].instances[0]
        if route.bandwidth_gbit_per_s and ends in measured:
            yield MovedLink(*ends, route.bandwidth_gbit_per_s, measured[ends].bandwidth_gbit_per_s)
