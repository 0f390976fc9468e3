"""Machines that the fleet needs no more and that may still cost: which of them are about to be gone, and which are not.

Whose release was asked for bills until it is proven gone, so nothing is leased of what it costs. Nothing rests for its
sake, though, while it may be gone sooner than another could be let go and taken back: one that is slow to go would else
cost a third. After that it costs like any other, and the budget is kept without it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from provisioners.leases.journal import LeaseRow, LeaseState
from thunderctl.controller.sizing.fleet import Fleet, standing_for


@dataclass(frozen=True, slots=True)
class Besides:
    """$/h of machines that stand for no instance that is wanted: of those that stay, and of those about to be gone."""

    stays_usd_per_hour: float = 0.0
    going_usd_per_hour: float = 0.0


def going_since(fleet: Fleet, before: Mapping[str, float]) -> dict[str, float]:
    """Since when, as far as it was seen, the release of each machine is asked for and not proven; by lease."""
    going = (row.lease_id for row in fleet.rows if row.state is LeaseState.DELETING)
    return {lease_id: before.get(lease_id, fleet.at) for lease_id in going}


def besides(fleet: Fleet, since: Mapping[str, float], patience_s: float) -> Besides:
    """Those that the plan lacks, second leases of one instance, and those at rest whose release was asked for.

    A machine is about to be gone for `patience_s` from when that was seen.
    """
    stays = going = 0.0
    for row in _unneeded(fleet):
        if row.state is LeaseState.DELETING and fleet.at - since.get(row.lease_id, fleet.at) <= patience_s:
            going += row.usd_per_hour
        else:
            stays += row.usd_per_hour
    return Besides(stays, going)


def _unneeded(fleet: Fleet) -> Iterator[LeaseRow]:
    planned = {(one.id, one.offer_id) for one in fleet.plan.instances}
    places: dict[tuple[str, str], list[LeaseRow]] = {}
    for row in fleet.rows:
        if not row.state.may_cost:
            continue
        if (row.instance, row.offer_id) in planned:
            places.setdefault((row.instance, row.offer_id), []).append(row)
        else:
            yield row
    for place, rows in places.items():
        if len(rows) == 1 and rows[0].state is not LeaseState.DELETING:
            continue  # it is the instance, as nearly all are
        it = standing_for(rows)
        released = it is not None and it.state is LeaseState.DELETING and fleet.resting.rests(*place)
        yield from (row for row in rows if row is not it or released)
