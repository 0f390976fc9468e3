"""Write a lease off that nothing can be proven of: its key was changed, or its host is gone for good."""

import time

from planner.errors import Refused, SpecError, ThunderError
from provisioners.base import Remembers
from provisioners.leases.journal import LeaseRow
from thunderctl.store.this_host import this_user
from thunderctl.world import World


def lease_to_forget(world: World, lease_id: str) -> LeaseRow:
    """The lease of that id, which counts as costing. Raises SpecError where there is none, Refused where it has ended.

    One that only empty listings lacked counts too, in the budget.
    """
    row = next((one for one in world.store.leases(world.name) if one.lease_id == lease_id), None)
    if row is None:
        raise SpecError(f"{world.name} has no lease {lease_id!r}.", hint="See: thunderctl leases --all")
    if not (row.state.may_cost or row.is_unseen):
        raise Refused(f"Lease {lease_id} is {row.state} already: {row.reason or 'nothing is left of it'}.")
    return row


def at_stake(row: LeaseRow) -> str:
    """What forgetting it may cost, in words."""
    machine = row.provider_id or f"what bears the label {row.label}"
    return (
        f"{row.provider} {machine} ({row.instance}, {row.state}, ${row.usd_per_hour:.4g}/h) may still run and bill: "
        "nobody will ask for it any more, unless a listing shows it again"
    )


def forget(world: World, row: LeaseRow) -> LeaseRow:
    """End the lease on the user's word, and look no more where it was asked for. The caller holds the lock."""
    after = row.forgotten(this_user(), time.time())
    world.store.update_lease(after, was=row.state)
    world.store.record(world.name, "lease.forgotten", f"{at_stake(row)}; {after.reason}")
    try:
        seller = world.provisioner(row.provider)
    except ThunderError:  # without its key nothing of it is remembered here
        return after
    if isinstance(seller, Remembers):
        seller.forget(row.lease_id)
    return after
