"""Which controller acts: who holds the deployment's leader row. Others wait for it to die, or to fall silent."""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from planner.errors import ThunderError
from runtime.tls import client_context
from thunderctl.agents import Agents
from thunderctl.api.serving import serving
from thunderctl.controller.act import Actor
from thunderctl.controller.adapting.adapter import Adapter
from thunderctl.controller.clock import SteadyClock
from thunderctl.controller.contact import Contact
from thunderctl.controller.listings import Listings
from thunderctl.controller.loop import Controller
from thunderctl.controller.observe import Observer
from thunderctl.controller.report import ControllerReport
from thunderctl.controller.watch import Watch
from thunderctl.deploy import pace_of
from thunderctl.store.locks import BRIEF_S, Held
from thunderctl.world import World

SWITCH_S = 0.0005
"""How long a thread computes before it lets another one: assessments run in threads, and a tick that has waited for an
answer, as it does hundreds of times, would else wait 5 ms more each time for one to pause."""
RETRY_S = 5.0

log = logging.getLogger(__name__)


def leader_row(deployment: str) -> str:
    """The name of the row: a deployment's lock with a suffix that no deployment's name can have."""
    return f"{deployment}#controller"


def lead(world: World, *, tick_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until no other controller of the deployment leads, then be it, until the deployment is gone.

    A store that can't be reached is waited for too.
    """
    world.controller.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    has_led = False
    while not has_led and world.controller.folder.exists():
        try:
            with world.store.lock(leader_row(world.name), "the controller leads", lasts_s=BRIEF_S) as held:
                log.info("this controller leads")
                asyncio.run(_run(world, held, tick_s))
                has_led = True
        except ThunderError as error:
            log.info("%s: %s", "the row is not given back" if has_led else "waiting", error.message)
            if not has_led:
                _write_waiting(world, error.message)
                sleep(RETRY_S)


async def _run(world: World, held: Held, tick_s: float) -> None:
    """Tick until it is over, or until SIGTERM: what is cut off is gone on with by the next one, or by `down`.

    The row is renewed beside the ticks. Raises Refused once another leads.
    """
    sys.setswitchinterval(SWITCH_S)
    now = SteadyClock()
    pace = replace(pace_of(world.spec()), now=now)
    async with Agents(client_context(world.operator_tls)) as agents:
        listings, contact = Listings(world, pace), Contact(world, agents)
        adapter = Adapter(world, now)
        observer = Observer(world, contact, listings, now, proposed=adapter.proposed)
        async with serving(world, contact, listings) as api:
            write = partial(_write, world, also=api.told)
            controller = Controller(
                world,
                observer,
                Actor(world, listings),
                write,
                tick_s=tick_s,
                ticked=api.ticked,
                adapter=adapter,
                sleep=Watch(world.router).pause,
            )
            ticking = asyncio.ensure_future(held.during(controller.run()))
            for name in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(name, ticking.cancel)
            with suppress(asyncio.CancelledError):
                await ticking
        contact.close()


def _write(
    world: World, report: ControllerReport, *, also: Callable[[ControllerReport], ControllerReport] = lambda one: one
) -> None:
    report = also(report)
    if world.controller.folder.exists():  # else the deployment is gone, and nothing of it is to come back
        report.write(world.controller.folder)


def _write_waiting(world: World, for_whom: str) -> None:
    """Who started this one hears that it is there, unless one of this host leads and says so itself."""
    known, at = world.controller.report(), time.time()
    mine = ControllerReport.mine(since=at, ticked_at=at, waits_for=for_whom)
    if known is None or known.pid == mine.pid:
        _write(world, replace(mine, since=known.since) if known else mine)
