"""Which controller acts: who holds the deployment's leader row. Others wait for it to die, or to fall silent."""

import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial

from planner.errors import ThunderError
from runtime.tls import client_context, keep_loaded
from thunderctl.api.serving import serving
from thunderctl.controller.act import Actor
from thunderctl.controller.adapting.adapter import Adapter
from thunderctl.controller.clock import SteadyClock
from thunderctl.controller.contact import Contact
from thunderctl.controller.credentials import keep_fresh
from thunderctl.controller.listings import Listings
from thunderctl.controller.loop import Controller
from thunderctl.controller.observe import Observer
from thunderctl.controller.report import ControllerReport, read_report
from thunderctl.controller.undelivered import Undelivered
from thunderctl.controller.watch import Watch
from thunderctl.controller.witness import keep_witness
from thunderctl.deploying.deploy import pace_of
from thunderctl.processes.agents import Agents
from thunderctl.store.locks import BRIEF_S, Held
from thunderctl.world import World, open_world

SWITCH_S = 0.0005
"""How long a thread computes before it lets another one: assessments run in threads, and a tick that has waited for an
answer, as it does hundreds of times, would else wait 5 ms more each time for one to pause."""
RETRY_S = 5.0
SWAPPED = "the store's file was replaced: the controller begins anew with what this one says"

log = logging.getLogger(__name__)


def leader_row(deployment: str) -> str:
    """The name of the row: a deployment's lock with a suffix that no deployment's name can have."""
    return f"{deployment}#controller"


def look_after(
    deployment: str,
    *,
    tick_s: float,
    opened: Callable[[str], AbstractContextManager[World]] = open_world,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Lead; and begin anew with what lies in the store's place, whenever its file is replaced meanwhile."""
    swapped = False
    while True:
        try:
            with opened(deployment) as world:
                if swapped:
                    log.info(SWAPPED)
                    world.store.record(deployment, "controller.store", SWAPPED)
                swapped = lead(world, tick_s=tick_s)
                if not swapped:
                    return
        except ThunderError as error:
            if not swapped:
                raise
            log.error("the store that was put in place: %s", error.message)
            sleep(RETRY_S)


def lead(world: World, *, tick_s: float, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Wait until no other controller of the deployment leads, then be it, until the deployment is gone.

    A store that can't be reached is waited for too. True where it ended because the store's file was replaced.
    """
    world.controller.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    has_led = swapped = False
    while not has_led and world.controller.folder.exists():
        try:
            with world.store.lock(leader_row(world.name), "the controller leads", lasts_s=BRIEF_S) as held:
                log.info("this controller leads")
                swapped = asyncio.run(_run(world, held, tick_s))
                has_led = True
        except ThunderError as error:
            log.info("%s: %s", "the row is not given back" if has_led else "waiting", error.message)
            if not has_led:
                _write_waiting(world, error.message)
                sleep(RETRY_S)
                if world.store.is_swapped():
                    return True
    return swapped


async def _run(world: World, held: Held, tick_s: float) -> bool:
    """Tick until it is over, or until SIGTERM: what is cut off is gone on with by the next one, or by `down`.

    The row is renewed beside the ticks. Raises Refused once another leads. True once the store's file was replaced.
    """
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()  # what is imported stays: looked through again and again it would hold a tick up for 0.1 s
    now = SteadyClock()
    pace = replace(pace_of(world.spec()), now=now)
    tls = client_context(world.operator_tls)
    async with Agents(tls) as agents:
        listings, contact = Listings(world, pace), Contact(world, agents)
        adapter = Adapter(world, now)
        unsent = Undelivered(world.folder / "agents").long
        observer = Observer(
            world,
            contact,
            listings,
            now,
            proposed=adapter.proposed,
            unsent=unsent,
            heard_before=_heard_before(world),
        )
        async with serving(world, contact, listings) as api:
            write = partial(_write, world, also=api.told)
            controller = Controller(
                world,
                observer,
                Actor(world, listings, observer.missing),
                write,
                tick_s=tick_s,
                ticked=api.ticked,
                adapter=adapter,
                sleep=Watch(world.router).pause,
            )
            ticking = asyncio.ensure_future(held.during(controller.run()))
            for name in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(name, ticking.cancel)
            looking = asyncio.ensure_future(_swapped(world, tick_s))
            beside = (
                asyncio.ensure_future(keep_fresh(world, listings)),
                asyncio.ensure_future(keep_loaded(world.operator_tls, tls)),
                asyncio.ensure_future(keep_witness(world)),
            )
            await asyncio.wait({ticking, looking}, return_when=asyncio.FIRST_COMPLETED)
            swapped = looking.done()
            for task in (ticking, looking, *beside):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await ticking
        contact.close()
    return swapped


def _heard_before(world: World) -> float | None:
    """When a controller before this one last heard an agent. Where no report is left that says so, as on another host,
    nothing is known since the last machine was leased; None where none ever was."""
    last = read_report(world.controller.folder)
    if last is not None and last.heard_at:
        return last.heard_at
    return max((row.created_at for row in world.store.leases(world.name)), default=None)


async def _swapped(world: World, every_s: float) -> None:
    """Return once the store's file was replaced: what is open is then nobody's any more."""
    while not world.store.is_swapped():
        await asyncio.sleep(every_s)


def _write(
    world: World, report: ControllerReport, *, also: Callable[[ControllerReport], ControllerReport] = lambda one: one
) -> None:
    report = also(report)
    if world.controller.folder.exists():  # else the deployment is gone, and nothing of it is to come back
        report.write(world.controller.folder)


def _write_waiting(world: World, for_whom: str) -> None:
    """Who started this one hears that it is there, unless one of this host leads and says so itself."""
    known, last, at = world.controller.report(), read_report(world.controller.folder), time.time()
    heard_at = last.heard_at if last is not None else 0.0  # of one that has died, and that this one goes on for
    mine = ControllerReport.mine(since=at, ticked_at=at, waits_for=for_whom, heard_at=heard_at)
    if known is None or known.pid == mine.pid:
        _write(world, replace(mine, since=known.since) if known else mine)
