"""The API of a controller, from the first tick to the last: where the controller and the application meet."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from planner.errors import ThunderError
from thunderctl.api.app import create_app
from thunderctl.api.auth import Auth, deployment_token
from thunderctl.api.door import Door, Place
from thunderctl.api.jobs import Jobs
from thunderctl.api.lookout import Lookout
from thunderctl.api.numbers import Numbers
from thunderctl.api.stored import Stored
from thunderctl.controller.contact import Contact
from thunderctl.controller.listings import Listings
from thunderctl.controller.report import ControllerReport
from thunderctl.web.routes import mount
from thunderctl.world import World

LAST_WORD_S = 1.0
"""For who waits for a `down`: to be told that it is done, before this process ends by it."""


@asynccontextmanager
async def serving(world: World, contact: Contact, listings: Listings) -> AsyncIterator["Served"]:
    """Serve it for the block."""
    numbers, stored = Numbers(), Stored()
    lookout = Lookout(world, contact, listings, stored, numbers)
    jobs = Jobs(world.name, world.controller.folder)
    token = deployment_token(world.controller.folder)
    door = Door(
        lambda: Place.of(world.spec().controller),
        lambda is_open: create_app(lookout, Auth(token, is_open), jobs, numbers=numbers, mounts=(mount,)),
    )
    tasks = [asyncio.ensure_future(work) for work in (door.keep(), lookout.keep_points())]
    try:
        yield Served(door, numbers)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _last_word(world, stored, jobs)
        await door.shut()
        jobs.close()
        await stored.close()


class Served:
    """What the controller tells of it, and to it."""

    def __init__(self, door: Door, numbers: Numbers) -> None:
        self._door = door
        self._numbers = numbers

    def ticked(self, seconds: float) -> None:
        self._numbers.ticks.observe(seconds)

    def told(self, report: ControllerReport) -> ControllerReport:
        """The report, with where the API is, or why it is nowhere."""
        return replace(report, api=self._door.url, alerts=(*report.alerts, *self._door.alerts))


async def _last_word(world: World, stored: Stored, jobs: Jobs) -> None:
    """A `down` ends this process when everything is proven gone: say so to who waits for it."""
    with suppress(ThunderError):
        costing = await stored.ask(lambda store: [row for row in store.leases(world.name) if row.state.may_cost])
        if not costing and jobs.hand_over() is not None:
            await asyncio.sleep(LAST_WORD_S)
