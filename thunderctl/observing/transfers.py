"""What agents measured to have come over each way, as the store keeps it, with what the plan says that way costs."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from planner.deployment import Instance, Plan
from planner.links import transfer_usd_per_gb
from provisioners.leases.journal import LeaseRow, usd
from provisioners.leases.transfers import TransferReading, bucket_of
from runtime.messages import agent_name
from thunderctl.observing.observe import Observation


def transfer_readings(
    seen: Observation, rows: Iterable[LeaseRow], plan: Plan | None, now: float
) -> tuple[TransferReading, ...]:
    """One reading a way, as of `now`; `rows` are all of the deployment, those of machines that are gone too."""
    known = {agent_name(row.lease_id): row for row in rows}
    instances = plan.instances if plan else ()
    return tuple(
        TransferReading(
            deployment=view.lease.deployment,
            source=known[link.peer].lease_id,
            target=view.lease.lease_id,
            counter=link.counter,
            at=bucket_of(now),
            bytes=link.bytes,
            usd_per_gb=_price(instances, known[link.peer], view.lease),
        )
        for view in seen.instances
        for link in (view.health.links if view.health else ())
        if link.peer in known
    )


def _price(instances: Sequence[Instance], source: LeaseRow, target: LeaseRow) -> Decimal | None:
    """None where the plan in force does not know one of the machines any more."""
    by_offer = {(instance.id, instance.offer_id): instance for instance in instances}
    ends = [by_offer.get((row.instance, row.offer_id)) for row in (source, target)]
    if ends[0] is None or ends[1] is None:
        return None
    return usd(transfer_usd_per_gb(ends[0], ends[1]))
