"""One lease, from quote to CREATED, such that no crash can lose it.

The quote is fetched again and the budget checked; the intent is committed; the provider is asked once; the answer is
committed. A clear no ends the row as LOST. Anything else leaves it SENT: it counts as costing until `resolve` has
looked.
"""

import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from secrets import randbits

from planner.deployment import Instance
from planner.errors import Incomplete, NoCapacity, OutcomeUnknown, ProvisioningError
from provisioners.base import Label, LeaseRequest, Machine, Provisioner, account_of
from provisioners.crash import crash_point
from provisioners.leases.budget import check_price, gate
from provisioners.leases.journal import Journal, LeaseRow, LeaseState
from provisioners.leases.transfers import transfer_usd_per_hour

PRICE_TOLERANCE = 0.05
WANTED = (LeaseState.SENT, LeaseState.CREATED, LeaseState.READY)


@dataclass(frozen=True, slots=True)
class Intent:
    """An instance of a plan that is to be leased for a deployment, until `expires_at` (seconds since the epoch).

    `group` names the instances that it has to stand close to, as those of one replica must; empty: none.
    """

    owner_id: str
    deployment: str
    plan_id: str
    instance: Instance
    expires_at: float | None = None
    group: str = ""


async def acquire(
    journal: Journal,
    provisioner: Provisioner,
    intent: Intent,
    *,
    budget_usd_per_hour: float,
    price_tolerance: float = PRICE_TOLERANCE,
    now: Callable[[], float] = time.time,
) -> LeaseRow:
    """Lease the intent's instance and return its row, CREATED. The caller holds the deployment's lock.

    Several may run at once in one process: the gate and the commit of the intent are one step. Raises Refused (budget,
    price) with nothing asked; NoCapacity, RateLimited, AuthError with the row LOST; NoCapacity with the row DELETING
    where a machine came that is of no use; OutcomeUnknown with the row SENT.
    """
    account = await account_of(provisioner)
    usd_per_hour = await _fresh_price(provisioner, intent.instance, price_tolerance)
    rows = journal.leases(intent.deployment)
    _check_free(rows, intent)
    moving_usd_per_hour = transfer_usd_per_hour(journal.transfers(intent.deployment), now())
    gate(rows, usd_per_hour, budget_usd_per_hour, moving_usd_per_hour, now=now())
    if any(row.plan_id == intent.plan_id and row.state.may_cost for row in rows):
        crash_point("C5")
    row = _sent(intent, account, usd_per_hour, now())
    crash_point("C0")
    journal.add_lease(row)
    crash_point("C1")
    machine = await _ask(journal, provisioner, row, intent, now)
    crash_point("C3")
    row = _created(journal, row, machine, now())
    crash_point("C4")
    if machine.problem:
        journal.update_lease(row.moved(LeaseState.DELETING, reason=machine.problem), was=LeaseState.CREATED)
        raise NoCapacity(f"{row.provider} made {row.provider_id}, which is of no use: {machine.problem}.")
    return row


def new_lease_id(now: float, random_bits: Callable[[int], int] = randbits) -> str:
    """A UUID of version 7 (RFC 9562): the time in milliseconds, then 74 random bits; sorts by time."""
    value = (int(now * 1000) & ((1 << 48) - 1)) << 80 | 0x7 << 76 | random_bits(12) << 64 | 0b10 << 62 | random_bits(62)
    return str(uuid.UUID(int=value))


async def _fresh_price(provisioner: Provisioner, instance: Instance, tolerance: float) -> float:
    offer = await provisioner.quote(instance.offer_id)
    if offer is None:
        raise NoCapacity(f"{instance.provider} no longer sells {instance.offer_id}.", hint="Plan again.")
    check_price(instance.usd_per_hour, offer.usd_per_hour, tolerance)
    return offer.usd_per_hour


def _check_free(rows: Iterable[LeaseRow], intent: Intent) -> None:
    """One instance of a plan is one machine: a second one means that the first was never looked for.

    A machine of another offer is none of it: it served an earlier plan, and is released once this one serves.
    """
    for row in rows:
        same = row.state is LeaseState.SENT or row.offer_id == intent.instance.offer_id
        if row.instance == intent.instance.id and row.state in WANTED and same:
            raise Incomplete(
                f"Instance {row.instance} already has lease {row.lease_id}, which is {row.state}.",
                hint="Run the command again: it finds out first what became of it.",
            )


def _sent(intent: Intent, account: str, usd_per_hour: float, now: float) -> LeaseRow:
    lease_id = new_lease_id(now)
    return LeaseRow(
        lease_id=lease_id,
        owner_id=intent.owner_id,
        deployment=intent.deployment,
        plan_id=intent.plan_id,
        instance=intent.instance.id,
        provider=intent.instance.provider,
        region=intent.instance.region,
        offer_id=intent.instance.offer_id,
        label=str(Label(intent.owner_id, intent.deployment, lease_id)),
        quoted_usd_per_hour=usd_per_hour,
        state=LeaseState.SENT,
        created_at=now,
        sent_at=now,
        expires_at=intent.expires_at,
        account=account,
    )


async def _ask(
    journal: Journal, provisioner: Provisioner, row: LeaseRow, intent: Intent, now: Callable[[], float]
) -> Machine:
    label = Label(row.owner_id, row.deployment, row.lease_id)
    request = LeaseRequest(
        label,
        row.offer_id,
        row.quoted_usd_per_hour,
        interruptible=intent.instance.interruptible,
        disk_gb=intent.instance.disk_gb,
        lifetime_s=max(0.0, row.expires_at - now()) if row.expires_at else 0.0,
        group=intent.group,
    )
    try:
        return await provisioner.lease(request)
    except OutcomeUnknown:
        raise
    except ProvisioningError as error:
        journal.update_lease(row.moved(LeaseState.LOST, reason=str(error), ended_at=now()), was=LeaseState.SENT)
        raise
    except Exception as error:
        raise OutcomeUnknown(
            f"Whether {row.provider} made a machine for lease {row.lease_id} is not known: {error!r}.",
            hint="It counts as costing until a listing tells: run the command again.",
        ) from error


def _created(journal: Journal, row: LeaseRow, machine: Machine, now: float) -> LeaseRow:
    known = replace(row.repriced(machine.usd_per_hour, now), provider_id=machine.provider_id)
    created = known.moved(LeaseState.CREATED)
    journal.update_lease(created, was=LeaseState.SENT)
    return created
