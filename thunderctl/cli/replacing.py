"""`up --replacing --only INSTANCE`, which the controller runs for machines that were lost, or are wanted again."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thunderctl.world import World

LEAST_HOURS = 0.01
"""The least that a spec may say: by it the switch of a machine is set, at which none is leased any more."""


def replace_lost(
    world: "World", instances: Sequence[str], max_hours: float | None, until: float | None, *, as_json: bool
) -> None:
    """Lease these instances of the plan in force and no others, and have them serve beside the rest. Leases end at
    `until`, however long this waits. A controller of an earlier version names hours instead, or no instance: then all
    are meant that have no machine.

    Everybody else may change the deployment meanwhile: its lock is held for each change alone.
    """
    from thunderctl.cli.progress import step_lines
    from thunderctl.cli.up import ended_by, hint_for, result_entry, show_outcome, with_hint
    from thunderctl.controller.process import REPLACING
    from thunderctl.deploying.refill import absent, error_of, refill, wanted_by
    from thunderctl.deploying.replacers import replacing
    from thunderctl.spec.spec import override_spec
    from thunderctl.store.locks import BRIEF_S

    spec = world.spec()
    if until is not None:
        max_hours = max(LEAST_HOURS, (until - time.time()) / 3600)
    world.written = override_spec(spec, {"--max-hours": {"budget": {"max_hours": max_hours}}})
    instances = instances or absent(world, wanted_by(world))
    take = partial(world.store.lock, world.name, REPLACING, lasts_s=BRIEF_S, waits=False)
    with replacing(world.store, world.name, instances) as held, step_lines() as (report, narrate):
        asyncio.run(world.look_after())  # it proves what is gone, and what became of creates
        work = refill(
            world,
            instances,
            take=take,
            max_hours=max_hours or spec.budget.max_hours,
            until=until,
            report=report,
            narrate=narrate,
        )
        results = asyncio.run(held.during(work))
    failure = with_hint(error_of(results), hint_for(world))
    show_outcome(world, [result_entry(result) for result in results], as_json=as_json, failure=failure)
    if failure is not None:
        raise ended_by(failure, as_json=as_json)
