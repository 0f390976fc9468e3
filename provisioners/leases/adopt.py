"""Rows for machines that have none, so that the lease protocol releases them like any other: until proven gone."""

from collections.abc import Iterable

from provisioners.base import Label, Machine
from provisioners.leases.journal import LeaseRow, LeaseState, Price, usd

LEAST_AGE_S = 30.0
"""A younger machine may be one whose row another process, or another store, is about to show."""


def too_young(machine: Machine, now: float) -> bool:
    """Whether it may be about to get a row; so may one of which nobody says when it was made."""
    return not 0 < machine.created_at <= now - LEAST_AGE_S


def condemned(machine: Machine, provider: str, rows: Iterable[LeaseRow], now: float) -> LeaseRow:
    """The row of a machine with a label of ours that is to be released, as if its intent had never been lost.

    Where several machines bear one label, the others get a row of a name of their own.
    """
    label = Label.parse(machine.label)
    if label is None:
        raise ValueError(f"{machine.provider_id} is labelled {machine.label!r}; expected a label of thunderctl's.")
    taken = any(row.lease_id == label.lease_id or row.label == machine.label for row in rows)
    suffix = f"-{machine.provider_id}" if taken else ""
    since = machine.created_at or now
    return LeaseRow(
        lease_id=label.lease_id + suffix,
        owner_id=label.owner_id,
        deployment=label.deployment,
        plan_id="",
        instance="",
        provider=provider,
        region="",
        offer_id="",
        label=machine.label + suffix,
        quoted_usd_per_hour=machine.usd_per_hour,
        state=LeaseState.DELETING,
        created_at=since,
        sent_at=since,
        provider_id=machine.provider_id,
        live_usd_per_hour=machine.usd_per_hour,
        reason="gc: no lease stood for it",
        prices=(Price(since, usd(machine.usd_per_hour)),),
    )
