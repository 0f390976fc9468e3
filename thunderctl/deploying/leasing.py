"""Rent what the plan has for an instance: once the provider lets us, and never twice."""

import time
from datetime import timedelta
from functools import partial

from planner.deployment import Plan
from planner.errors import AuthError, Incomplete, NoCapacity, OutcomeUnknown, PriceMoved, RateLimited, Refused
from provisioners.leases.acquire import Intent, acquire
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.resolve import resolve
from thunderctl.deploying.leaving import Leaving
from thunderctl.deploying.site import Site
from thunderctl.home import owner_id

LONGEST_PAUSE_S = 60.0
MOST_LOST = 3
"""Creates whose answer was lost and that turned out to have made nothing, before the offer counts as not to be had."""


async def lease(site: Site, leaving: Leaving, instance_id: str) -> LeaseRow:
    """The instance's lease, CREATED.

    Waits where the provider or the budget says so, the latter only while machines are on their way out, and finds out
    what became of a create whose answer was lost. Raises what `acquire` raises, but for that; credentials that a
    substitute's provider refuses are no reason to stop all, so such an offer is not to be had. Incomplete where nothing
    but empty listings says that a create made nothing: who asks again on such word may rent one after the other unseen.
    """
    started, pause_s, lost = site.clock(), site.pace.poll_s, 0
    while True:
        try:
            return await site.turn.change(instance_id, partial(_asked, site, instance_id))
        except RateLimited as error:
            if site.clock() - started >= site.spec.leases.ready_deadline_s:
                raise
            site.narrate(instance_id, f"waits {pause_s:.0f} s: {error.message}")
            await site.pace.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        except OutcomeUnknown as error:
            if (row := await _found(site, instance_id, error)) is not None:
                return row
            lost += 1
            if lost == MOST_LOST:
                raise NoCapacity(f"{lost} asks got no answer and made nothing. {error.message}") from error
        except AuthError as error:
            if not site.replaced[instance_id]:
                raise
            raise NoCapacity(error.message, hint=error.hint) from error
        except PriceMoved:
            raise
        except Refused:
            if not leaving.under_way:
                raise
            site.narrate(instance_id, "waits for room in the budget")
            await leaving.one_gone()


async def _asked(site: Site, instance_id: str) -> LeaseRow:
    if site.turn.beside and (row := site.leased(instance_id)) is not None:
        return row
    instance = site.plan.instance(instance_id)
    until = site.until or time.time() + timedelta(hours=site.max_hours).total_seconds()
    return await acquire(
        site.world.store,
        site.provisioner(instance_id),
        Intent(owner_id(), site.world.name, site.plan.plan_id, instance, until, group_of(site.plan, instance_id)),
        budget_usd_per_hour=site.spec.budget.gate_usd_per_hour(site.plan.budget_usd_per_hour, time.time()),
    )


def group_of(plan: Plan, instance_id: str) -> str:
    """The replica that the instance serves together with others, close to which it has to stand; empty: none."""
    spanning = (replica for replica in plan.replicas if len(replica.instances) > 1)
    return next((replica.id for replica in spanning if instance_id in replica.instances), "")


async def _found(site: Site, instance_id: str, error: OutcomeUnknown) -> LeaseRow | None:
    """The machine that a create made though its answer was lost; None once it is proven that there is none."""
    name = site.world.name
    if site.turn.beside:
        return await _looked_for_by_others(site, instance_id, error)
    sent = [
        row.lease_id
        for row in site.world.store.leases(name)
        if row.instance == instance_id and row.state is LeaseState.SENT
    ]
    site.narrate(instance_id, f"looks whether it was made: {error.message}")
    sight = await resolve(
        site.world.store,
        site.provisioner(instance_id),
        sent,
        owner_id=owner_id(),
        deployment=name,
        pace=site.pace,
    )
    if unseen := next((row for row in sight.rows if row.is_unseen), None):
        raise Incomplete(
            f"Whether {unseen.provider} made a machine for {instance_id} is not known: it lists nothing at all. It "
            f"counts in the budget at {unseen.usd_per_hour:.4g} $/h, as {unseen.lease_id}, until a listing shows some "
            "machine and not this one.",
            hint=f"Look for it at {unseen.provider}. If it is not there: thunderctl leases --forget {unseen.lease_id}, "
            "and run `thunderctl up` again.",
        )
    return next((row for row in sight.rows if row.state is LeaseState.CREATED), None)


async def _looked_for_by_others(site: Site, instance_id: str, error: OutcomeUnknown) -> LeaseRow | None:
    """As `_found`, where the controller may look meanwhile: that finds out what every intent has come to."""
    site.narrate(instance_id, f"waits for what the controller finds: {error.message}")
    [*_, sent] = (one for one in site.world.store.leases(site.world.name) if one.instance == instance_id)
    row = await site.when(sent.lease_id, lambda one: one.state is not LeaseState.SENT)
    if row.is_unseen:
        raise Incomplete(f"Whether {row.provider} made a machine for {instance_id} is not known: {error.message}")
    return row if row.state is LeaseState.CREATED else None
