"""Machines that no lease stands for: looked for wherever some may be, and released as leases are."""

import asyncio
import os
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from planner.errors import Incomplete, ThunderError
from provisioners.base import Label, Machine
from provisioners.leases.adopt import LEAST_AGE_S, condemned, too_young
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.observe import Pace, another_account, listed, matched, same_account, seen, strays
from provisioners.leases.release import BY_GC, release
from thunderctl.store.values import DeploymentState
from thunderctl.world import World

ALWAYS = ("local", "ssh")
ANSWER_S = 30.0
"""Each provider is asked side by side with the others; one that takes longer is named, and holds nobody up."""
KEYS = {
    "aws": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    "runpod": ("RUNPOD_API_KEY",),
    "vast": ("VAST_API_KEY",),
}
"""The environment variables that say that somebody has an account there."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What one provider showed; `problem` says why that may not be all, and is empty where it is."""

    provider: str
    machines: tuple[Machine, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Stray:
    """A machine with a label of thunderctl's that no lease of this store stands for, or one that has ended."""

    provider: str
    machine: Machine
    label: Label


def providers_to_ask(world: World) -> tuple[str, ...]:
    """This host and one's own always; a market where a key is at hand, a lease may cost, or the spec names it."""
    markets = (world.written or world.spec()).markets
    named = markets.providers if "providers" in markets.model_fields_set else ()
    leased = (row.provider for row in world.store.leases() if row.state.may_cost)
    return tuple(sorted({*ALWAYS, *leased, *(name for name in KEYS if name in named or has_key(name))}))


def has_key(provider: str) -> bool:
    """Whether the environment, or AWS's own file, has credentials for it."""
    if any(os.environ.get(name) for name in KEYS[provider]):
        return True
    named = os.environ.get("AWS_SHARED_CREDENTIALS_FILE")
    return provider == "aws" and (Path(named) if named else Path.home() / ".aws" / "credentials").exists()


async def look_around(world: World) -> tuple[Looked, ...]:
    """Ask every such provider what it has, all at once. Read the store's rows only after it: see `observe.look`."""
    return tuple(await asyncio.gather(*(_look(world, provider) for provider in providers_to_ask(world))))


def strays_of(looked: Iterable[Looked], rows: Collection[LeaseRow], owner_id: str) -> tuple[Stray, ...]:
    """Those that bear this owner id. A machine whose lease was given up, and that is there after all, is one too."""
    costing = [row for row in rows if row.state.may_cost]
    return tuple(
        Stray(one.provider, machine, label)
        for one in looked
        for machine in strays(one.machines, [row for row in costing if row.provider == one.provider], owner_id)
        if (label := Label.parse(machine.label)) is not None
    )


def all_of_ours(looked: Iterable[Looked]) -> tuple[Stray, ...]:
    """Every machine with a label of thunderctl's, whoever owns it, leased or not."""
    return tuple(
        Stray(one.provider, machine, label)
        for one in looked
        for machine in one.machines
        if (label := Label.parse(machine.label)) is not None
    )


async def release_strays(world: World, chosen: Collection[Stray], owner_id: str, pace: Pace) -> None:
    """Write a row for each, then release those rows and all whose release was cut off, until proven gone.

    Takes the lock of each deployment in turn. Raises the first error once every deployment was tried.
    """
    cut_off = {(row.provider, row.deployment) for row in world.store.leases() if row.state is LeaseState.DELETING}
    first: ThunderError | None = None
    for provider, deployment in sorted({(one.provider, one.label.deployment) for one in chosen} | cut_off):
        wanted = {one.machine.provider_id for one in chosen if one.provider == provider}
        try:
            with world.store.lock(deployment, "gc"):
                await _condemn(world, provider, deployment, wanted, owner_id, pace)
                await _finish(world, provider, deployment, owner_id, pace)
        except ThunderError as error:
            first = first or error
    if first is not None:
        raise first


async def _condemn(
    world: World, provider: str, deployment: str, wanted: Collection[str], owner_id: str, pace: Pace
) -> None:
    """Write rows for those of `wanted` that are still listed, have no row, and are old enough to never get one."""
    found = await _still_strays(world, provider, deployment, wanted, owner_id)
    if any(too_young(one.machine, pace.now()) for one in found):
        await pace.sleep(LEAST_AGE_S)
        before = {one.machine.provider_id for one in found}
        found = await _still_strays(world, provider, deployment, before, owner_id)
    for one in found:
        _write_row(world, provider, one.machine, pace.now())
        world.store.record(deployment, "gc", f"releasing the stray {one.machine.provider_id} of {provider}")


def _write_row(world: World, provider: str, machine: Machine, now: float) -> None:
    """Commit that the machine is to go: in the row that was given up, else in one of its own."""
    rows = [row for row in world.store.leases() if row.provider == provider and not row.state.may_cost]
    given_up = next((row for row in rows if row.lease_id in matched([machine], rows)), None)
    if given_up is None:
        world.store.add_lease(condemned(machine, provider, world.store.leases(), now))
        return
    row = seen(given_up, machine, now)
    world.store.update_lease(row, was=given_up.state)
    if row.state is not LeaseState.DELETING:
        world.store.update_lease(row.moved(LeaseState.DELETING, reason=BY_GC), was=row.state)


async def _still_strays(
    world: World, provider: str, deployment: str, wanted: Collection[str], owner_id: str
) -> tuple[Stray, ...]:
    looked = await _look(world, provider)
    found = strays_of([looked], world.store.leases(), owner_id)
    return tuple(one for one in found if one.machine.provider_id in wanted and one.label.deployment == deployment)


async def _finish(world: World, provider: str, deployment: str, owner_id: str, pace: Pace) -> None:
    rows = world.store.leases(deployment)
    leaving = [row.lease_id for row in rows if row.state is LeaseState.DELETING and row.provider == provider]
    if leaving:
        seller = world.provisioner(provider)
        await release(world.store, seller, leaving, owner_id=owner_id, deployment=deployment, reason=BY_GC, pace=pace)


async def _look(world: World, provider: str) -> Looked:
    try:
        async with asyncio.timeout(ANSWER_S):
            listing, account = await listed(world.provisioner(provider))
    except TimeoutError:
        return Looked(provider, (), f"it gave no answer within {ANSWER_S:g} s")
    except ThunderError as error:
        return Looked(provider, (), error.message)
    problem = "" if listing.complete else listing.reason or "its list is not whole"
    rows = [row for row in world.store.leases() if row.provider == provider]
    same = same_account(rows, matched(listing.machines, rows))
    return Looked(provider, _not_moved(world, listing.machines), problem or another_account(account, rows, same))


def _not_moved(world: World, machines: Iterable[Machine]) -> tuple[Machine, ...]:
    """Without those of deployments that another host's store looks after: they bear our owner id too."""
    away = {one.name for one in world.store.deployments() if one.state is DeploymentState.MOVED}
    labels = [(machine, Label.parse(machine.label)) for machine in machines]
    return tuple(machine for machine, label in labels if label is None or label.deployment not in away)


def check_none_left(found: Collection[Machine], provider: str, deployment: str) -> None:
    """Raise Incomplete where machines of a deployment that is down bill on, though none of its leases does."""
    labels = {machine.provider_id: Label.parse(machine.label) for machine in found}
    left = [name for name, label in labels.items() if label is not None and label.deployment == deployment]
    if left:
        raise Incomplete(
            f"{', '.join(left)} of {provider} bear this deployment's label, have no lease, and bill on.",
            hint="Release them: thunderctl gc --delete",
        )


def gone(world: World, stray: Stray) -> bool:
    """Whether the stray was released, and proven gone."""
    return any(
        row.provider == stray.provider and row.provider_id == stray.machine.provider_id and row.state is LeaseState.GONE
        for row in world.store.leases()
    )


def age_s(machine: Machine) -> float | None:
    """How long it has run, by its provider's word; None where that is not said."""
    return time.time() - machine.created_at if machine.created_at else None
