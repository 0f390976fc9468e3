"""The requests under way when a deployment is taken down: they have their grace, and no machine goes before.

The router lets nobody in from the first moment on. Machines are released once it has nothing under way or the grace is
over, and not when it has ended: a router elsewhere takes longer, and where its host is silent much longer, while they
cost.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from planner.errors import HostError, SpecError, ThunderError
from thunderctl.world import World

LOOK_EVERY_S = 0.5
ANSWER_S = 2.0

Ending = asyncio.Future[ThunderError | None]


def grace_of(world: World) -> float:
    """Seconds that a router which runs, or may, gives its requests when it is told to stop; 0 where there is none."""
    router = world.router
    if router.running() is not None:
        return router.stop_grace_s
    if not router.is_unlinked:
        return 0.0
    from thunderctl.hosted.router_end import noted

    try:
        return noted(router.folder).grace_s
    except SpecError:
        return world.spec().serve.stop_grace_s


async def shut(world: World) -> None:
    """Have the router let no new request in, where it can be told: stopped it refuses them too, once it hears of it."""
    if world.router.running() is not None:
        with suppress(HostError):
            await world.router.close()


async def await_last(
    world: World, ending: Ending, grace_s: float, *, clock: Callable[[], float] = time.monotonic
) -> None:
    """Return once nothing is under way, the router has ended, or the grace is over.

    `ending` comes to why the router could not be ended, None where it has: that a host does not answer says nothing of
    the requests there.
    """
    until = clock() + grace_s
    while (left_s := until - clock()) > 0:
        if (ending.done() and ending.result() is None) or await _has_none(world):
            return
        pause_s = min(LOOK_EVERY_S, left_s)
        if ending.done():
            await asyncio.sleep(pause_s)
        else:
            await asyncio.wait({ending}, timeout=pause_s)


async def _has_none(world: World) -> bool:
    """Whether the router says that it lets nobody in and has nothing under way."""
    try:
        async with asyncio.timeout(ANSWER_S):
            seen = await world.router.observed()
    except (HostError, TimeoutError):
        return False
    return bool(seen.get("closed")) and not sum(seen["in_flight"].values())
