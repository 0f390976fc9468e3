"""The controller's loop: observe, decide, act, once a tick, for as long as the deployment has a folder."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from planner.errors import Refused, ThunderError
from provisioners.leases.journal import LeaseRow
from thunderctl.controller.act import Actor
from thunderctl.controller.adapting.adapter import Adapter
from thunderctl.controller.alerts import alerts_of
from thunderctl.controller.decide import decide, is_calm
from thunderctl.controller.errands import AT_WORK, Errands
from thunderctl.controller.heard import Heard
from thunderctl.controller.observe import Observer
from thunderctl.controller.patience import waits
from thunderctl.controller.report import ControllerReport
from thunderctl.controller.situation import Alert, Situation
from thunderctl.controller.steps import ControlStep, Release, Replace, together
from thunderctl.controller.told import Told, subject_of, text_of
from thunderctl.store.locks import BRIEF_S, Held
from thunderctl.world import World

TICK_S = 2.0
AGAIN_S = 0.25
"""Until the second look at who was missed for the first time."""
IDLE_S = 600.0
"""With nothing leased for so long, nor to be leased again, there is nothing to look after: the next `up` starts
another."""
COUNT_EVERY_S = 60.0
"""How often what moved between machines is written down: what a machine's death may leave uncounted."""

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Controller:
    """One deployment's. `write` is given a report after every tick. `clock` measures durations.

    Providers are spoken to beside the ticks: one that hangs keeps no agent waiting, and no silent one in the routes.
    """

    world: World
    observer: Observer
    actor: Actor
    write: Callable[[ControllerReport], None]
    tick_s: float = TICK_S
    adapter: Adapter | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ticked: Callable[[float], None] = lambda _: None
    told: Told = field(default_factory=Told)
    since: float = field(default_factory=time.time)
    ticks: int = 0
    _alerts: tuple[Alert, ...] = ()
    _waits_for: str = ""
    _replaces: bool = False
    _counted_at: float = -COUNT_EVERY_S
    _idle_since: float = field(init=False)
    _errands: Errands = field(init=False)

    def __post_init__(self) -> None:
        self._idle_since = self.clock()
        self._errands = Errands(self._lock, self.clock)

    async def run(self) -> None:
        """Tick until the deployment's folder is gone, or nothing was leased for long."""
        self._report()  # who started it need not wait for the first tick
        try:
            while self.world.controller.folder.exists() and not self._is_idle():
                started = self.clock()
                await self.tick()
                self.ticked(self.clock() - started)
                pause_s = AGAIN_S if self.observer.pulse.missing else self.tick_s
                await self.sleep(max(0.0, pause_s - (self.clock() - started)))
        finally:
            await self._errands.close()
            if self.adapter is not None:
                await self.adapter.close()

    async def tick(self) -> None:
        """One round. What fails is said, and tried again in the next: whoever stops ticking lets machines be lost."""
        try:
            await self._round()
        except ThunderError as error:
            self._fail(f"{error.message} {error.hint}".strip())
        except Exception as error:  # a bug in one round must not end the contact that keeps the fleet alive
            log.exception("a tick failed")
            self._fail(f"A bug in the controller, which goes on: {error!r}. See: thunderctl logs controller")
        self.ticks += 1
        self._report()

    def _is_idle(self) -> bool:
        if self.observer.leased or self._replaces:
            self._idle_since = self.clock()
        return self.clock() - self._idle_since > IDLE_S

    async def _round(self) -> None:
        self.actor.reap()
        heard = await self.observer.hear()
        self._count(heard)
        due, steps = self.observer.due(heard), self._due(self.observer.situation(heard))
        self._waits_for = ""
        if due or steps:
            try:
                with self._errands.lock():
                    await self._act(heard, due)
            except Refused as refusal:
                self._waits_for = refusal.message
                for provider in due:
                    self._errands.begin(
                        f"peek {provider}", partial(self.observer.listings.peek, provider), locked=False
                    )
        if look := self.observer.market_look(heard):
            self._errands.begin("market", look, locked=False)
        await self._errands.join()
        situation = self.observer.situation(heard)
        self._alert((*alerts_of(situation), *self.told.failing))
        if self.adapter is not None:
            self.adapter.look(heard, calm=is_calm(situation))

    def _lock(self) -> AbstractContextManager[Held]:
        """Whoever has it is not waited for with this thread: agents are to be heard meanwhile."""
        return self.world.store.lock(self.world.name, AT_WORK, lasts_s=BRIEF_S, waits=False)

    def _count(self, heard: Heard) -> None:
        if self.clock() - self._counted_at >= COUNT_EVERY_S:
            self._counted_at = self.clock()
            self.observer.count(heard)

    def _due(self, situation: Situation) -> list[ControlStep]:
        """What is to be done now, but for what has just failed."""
        steps, now = decide(situation), self.clock()
        self._replaces = bool(situation.replacing) or any(isinstance(step, Replace) for step in steps)
        self.told.keep(steps, now)
        return together(step for step in self.told.due(steps, now) if not self._put_off(step, situation))

    def _put_off(self, step: ControlStep, situation: Situation) -> bool:
        """Whether it would lease again what failed one time after the other just now: then that waits alone."""
        if not isinstance(step, Replace):
            return False
        rows, at = self.observer.leases().rows, situation.at
        found = waits(rows, step.instances, at, ready_deadline_s=situation.ready_deadline_s)
        if len(found) < len(step.instances):
            return False
        until = self.clock() + min(one.until for one in found) - at
        self.told.wait(step, until, " ".join(one.text for one in found))
        return True

    async def _act(self, heard: Heard, due: Collection[str]) -> None:
        """Ask the providers that are due, then do what is to be done by what they say, or said last.

        A controller that is new waits for what every provider says first, and speaks to agents meanwhile.
        """
        for provider in due:
            self._errands.begin(f"look {provider}", partial(self._look, provider))
        await self._errands.join()
        if self.observer.unheard:
            return
        for step in self._due(self.observer.situation(heard)):
            self._errands.renew()
            if isinstance(step, Release):
                self._errands.begin(f"release {step.lease_id}", partial(self._do, step, heard))
            else:
                await self._in_contact(self._do(step, heard))

    async def _in_contact(self, work: Coroutine[Any, Any, T]) -> T:
        """Await it under the lock, and speak to agents meanwhile: they end their machines when nobody does."""
        doing = asyncio.ensure_future(self._errands.during(work))
        try:
            while not (await asyncio.wait({doing}, timeout=self.tick_s))[0]:
                await self.observer.speak()
            return doing.result()
        finally:
            doing.cancel()

    async def _look(self, provider: str) -> None:
        """List, and say what that changed: machines that are gone or turned up, prices that moved."""
        before = self._rows_at(provider)
        await self.observer.listings.look(provider)
        for kind, text in text_of(before, self._rows_at(provider)):
            self._record(kind, text)

    def _rows_at(self, provider: str) -> tuple[LeaseRow, ...]:
        return tuple(row for row in self.observer.leases().rows if row.provider == provider)

    async def _do(self, step: ControlStep, heard: Heard) -> None:
        kind, news = f"controller.{type(step).__name__.lower()}", self.told.is_news(step)
        subject = subject_of(step, self.observer.leases().rows)
        if news:
            self._record(kind, f"{subject}: {step.reason}")
        try:
            done = await self.actor.do(step, heard)
        except ThunderError as error:
            self.told.failed(step, self.clock(), f"Not done yet: {subject}. {error.message} It is tried again.")
            if news:
                self._record(f"{kind}.failed", f"{error.message} It is tried again.")
            return
        if isinstance(step, Replace):
            self.told.failed(step, self.clock())  # until it is decided no more: each try is followed by a longer pause
        else:
            self.told.done(step)
        if done:
            self._record(f"{kind}.done", done)

    def _alert(self, alerts: tuple[Alert, ...]) -> None:
        known = {alert.key for alert in self._alerts}
        self._alerts = alerts
        for alert in alerts:
            if alert.key not in known:
                self._record("alert", alert.text)

    def _fail(self, text: str) -> None:
        """Shown as an alert; what was known before is kept, as nothing newer is known."""
        log.error("%s", text)
        others = tuple(alert for alert in self._alerts if alert.key != "tick")
        self._alerts = (*others, Alert("tick", text))

    def _record(self, kind: str, text: str) -> None:
        log.info("%s: %s", kind, text)
        self.world.store.record(self.world.name, kind, text)

    def _report(self) -> None:
        texts = tuple(alert.text for alert in self._alerts)
        if jump_s := self.observer.now.jump_s:
            texts = (f"This host's clock was set by {jump_s:+.0f} s; leases are held to the time as it passed.", *texts)
        report = ControllerReport.mine(
            since=self.since,
            ticked_at=time.time(),
            ticks=self.ticks,
            alerts=texts,
            waits_for=self._waits_for,
            adapting=self.adapter.report() if self.adapter is not None else {},
            heard_at=self.observer.heard_at,
        )
        try:
            self.write(report)
        except OSError as error:
            log.error("its report can't be written: %s", error)
