"""Which providers have to say what became of leases, and the finding out, before anything new is done."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from planner.deployment import Plan
from planner.errors import Incomplete, ThunderError
from provisioners.leases.journal import LATE_S, LeaseRow
from provisioners.leases.release import resume
from thunderctl.deploying.deploy import pace_of
from thunderctl.home import owner_id
from thunderctl.spec.spec import Spec
from thunderctl.world import World

SLOW_S = 10.0
"""A provider that has not answered by then is named, while it is waited for."""


def unsaid(_text: str) -> None:
    """Narrate to nobody."""


def providers_to_prove(rows: Iterable[LeaseRow], now: float) -> list[str]:
    """Those that may have a machine: where a lease may cost, or one was asked for within a day, whatever came of it.

    A create that was given up, and whose machine shows up after all, bills like any other.
    """
    return sorted({row.provider for row in rows if row.state.may_cost or now - row.created_at <= LATE_S})


async def settle(
    world: World, spec: Spec, plan: Plan, narrate: Callable[[str], None] = unsaid, *, is_preview: bool = False
) -> None:
    """Finish releases that were cut off and resolve leases in doubt, at all providers side by side.

    A preview gives up as soon as absences could have been proven: nobody waits ten minutes to be shown steps.
    Asked are those that may have a machine, and those of the plan that ever had one: another's key may be long gone.
    Raises Incomplete while something is not known, or what the only provider that failed did.
    """
    rows = world.store.leases(world.name)
    pace = pace_of(spec)
    if is_preview:
        pace = replace(pace, patience_s=pace.settle_s + pace.poll_s)
    planned = {one.provider for one in plan.instances} & {row.provider for row in rows}
    providers = sorted({*providers_to_prove(rows, time.time()), *planned})

    async def settled(provider: str) -> None:
        said = asyncio.get_running_loop().call_later(
            SLOW_S, narrate, f"Finding out from {provider} what became of leases there."
        )
        try:
            seller = world.provisioner(provider)
            await resume(world.store, seller, owner_id=owner_id(), deployment=world.name, pace=pace)
        finally:
            said.cancel()

    outcomes = await asyncio.gather(*(settled(provider) for provider in providers), return_exceptions=True)
    _raise([one for one in outcomes if isinstance(one, BaseException)])


def _raise(failed: Sequence[BaseException]) -> None:
    """What failed, all in one if that was several."""
    errors = [one for one in failed if isinstance(one, ThunderError)]
    for one in failed:
        if len(failed) == 1 or one not in errors:
            raise one
    if errors:
        hints = dict.fromkeys(one.hint for one in errors if one.hint)
        raise Incomplete(" ".join(one.message for one in errors), hint=" ".join(hints))
