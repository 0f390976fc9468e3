"""What of the plan's machines was lost, and which of it may have ended itself as nobody spoke to it for long. Pure."""

from collections.abc import Iterable

from planner.deployment import Plan
from provisioners.leases.journal import LeaseRow
from thunderctl.fleet.resting import Resting
from thunderctl.observing.known_leases import Leased


def lost_of(plan: Plan, leased: Leased, resting: Resting) -> tuple[LeaseRow, ...]:
    """The last lease of each instance of the plan that has none which may cost, but for those that rest."""
    costing = {row.instance for row in leased.costing} | resting.of(plan)
    return tuple(leased.last[one.id] for one in plan.instances if one.id in leased.last and one.id not in costing)


def unwatched(lost: Iterable[LeaseRow], heard_at: float, deadman_s: float) -> frozenset[str]:
    """The leases among them of whose machines nothing was heard for as long as their dead-man's switches wait.

    `heard_at` is when any agent last answered. Machines that were leased since were lost for another reason.
    """
    return frozenset(
        one.lease_id
        for one in lost
        if one.ended_at is not None and one.created_at <= heard_at and one.ended_at - heard_at >= deadman_s
    )
