"""Says which plan's routes are in force, where whoever put them there was killed before it was written down.

The router is told first, and the store then: what is kept of both in one transaction is nothing. `history` and what was
spent by plan are read from these events.
"""

import asyncio
import logging

from planner.errors import ThunderError
from thunderctl.controller.errands import AT_WORK
from thunderctl.history import IN_FORCE
from thunderctl.store.locks import BRIEF_S
from thunderctl.world import World

LOOK_EVERY_S = 10.0

log = logging.getLogger(__name__)


async def keep_witness(world: World, *, every_s: float = LOOK_EVERY_S) -> None:
    """Look now and then, until cancelled."""
    while True:
        await asyncio.sleep(every_s)
        try:
            witness(world)
        except ThunderError as error:  # who has the lock may be writing it down
            log.info("which plan is in force is not looked at: %s", error.message)
        except Exception:
            log.exception("which plan is in force can't be found out")


def witness(world: World) -> bool:
    """Write down the plan that the routes are of, where the last one written down is another; whether that was so.

    Nobody is between the two while nobody holds the deployment's lock, which is so taken and not waited for.
    """
    if not _unsaid(world) or world.store.holder(world.name) is not None:
        return False
    with world.store.lock(world.name, AT_WORK, lasts_s=BRIEF_S, waits=False):
        routes, before = world.router.routes(), _said(world)
        if routes is None or routes.plan_id == before:
            return False
        said = f"plan {routes.plan_id} was found in force (epoch {routes.epoch})"
        detail = {"plan_id": routes.plan_id, "before": before, "epoch": routes.epoch}
        world.store.record(world.name, IN_FORCE, f"{said}, in place of {before}" if before else said, **detail)
    return True


def _unsaid(world: World) -> bool:
    """Whether a router runs by a plan that was not the last to be said to be in force."""
    routes = world.router.routes() if world.router.running() is not None else None
    return routes is not None and bool(routes.plan_id) and routes.plan_id != _said(world)


def _said(world: World) -> str:
    events = world.store.events_where(world.name, kinds=(IN_FORCE,), limit=1)
    return str(events[-1].detail.get("plan_id") or "") if events else ""
