"""The machines of a deployment's leases, as their providers list them now, by what people call them."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from planner.errors import HostError, SpecError, ThunderError
from provisioners.base import Listing, Machine
from provisioners.leases.journal import LeaseRow
from provisioners.leases.observe import matched
from thunderctl.world import World


@dataclass(frozen=True, slots=True)
class LeasedMachine:
    """A lease that may cost, and its machine; None while its provider lists none, with the `problem` in words."""

    lease: LeaseRow
    machine: Machine | None
    problem: str = ""

    @property
    def there(self) -> Machine:
        """The machine. Raises HostError where there is none."""
        if self.machine is None:
            raise HostError(f"{self.lease.instance} ({self.lease.state}) can't be reached: {self.problem}.")
        return self.machine


async def leased_machines(world: World, rows: Iterable[LeaseRow] | None = None) -> tuple[LeasedMachine, ...]:
    """Those of the given leases, or of all that may cost; each provider is asked once, and what it lacks is said."""
    wanted = tuple(rows) if rows is not None else costing(world)
    providers = sorted({row.provider for row in wanted})
    listings = dict(zip(providers, await asyncio.gather(*(_listed(world, one) for one in providers)), strict=True))
    found = {
        name: matched(listing.machines, [row for row in wanted if row.provider == name])
        for name, listing in listings.items()
    }
    return tuple(_of(row, found[row.provider].get(row.lease_id), listings[row.provider]) for row in wanted)


def costing(world: World) -> tuple[LeaseRow, ...]:
    """The deployment's leases that may cost, by instance."""
    rows = (row for row in world.store.leases(world.name) if row.state.may_cost)
    return tuple(sorted(rows, key=lambda row: (len(row.instance), row.instance, row.created_at)))


def named(rows: Sequence[LeaseRow], instance: str) -> LeaseRow:
    """The lease of that instance, by its name or its lease's id; of several the one that was leased last.

    Raises SpecError naming what there is.
    """
    found = [row for row in rows if instance in (row.instance, row.lease_id)]
    if not found:
        known = ", ".join(dict.fromkeys(row.instance for row in rows))
        raise SpecError(
            f"No instance is called {instance!r}; expected one of {known}."
            if known
            else f"No instance is called {instance!r}: nothing is leased."
        )
    return max(found, key=lambda row: (row.state.runs, row.created_at))


async def _listed(world: World, provider: str) -> Listing:
    try:
        return await world.provisioner(provider).observe()
    except ThunderError as error:
        return Listing(False, reason=error.message)


def _of(row: LeaseRow, machine: Machine | None, listing: Listing) -> LeasedMachine:
    if machine is not None:
        return LeasedMachine(row, machine)
    reason = f"{row.provider}'s list is not whole: {listing.reason}" if not listing.complete else ""
    return LeasedMachine(row, None, (reason or f"{row.provider} does not list it").rstrip("."))
