"""Simulated days with the real controller: its loop, observer, decisions, policies and hands, on a clock of our own.

What takes another thread in a controller does so here as well, and the clock stands still meanwhile; what a tick costs
is the CPU time of its own thread, with the answers of 500 made-up agents in it.
"""

import asyncio
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import thunderctl.controller.loop as looping
from benchmarks.fluid.agents import Agents, SimulatedRouter
from benchmarks.fluid.clocks import beside, measured
from benchmarks.fluid.cloud import SpotCloud
from benchmarks.fluid.hands import Hands
from benchmarks.fluid.judging import by_fluid
from benchmarks.fluid.leasing import DEPLOYMENT, Leases, Up
from benchmarks.fluid.lived import Lived, Loss
from benchmarks.fluid.load import MINUTE_S, Load, mixture
from benchmarks.fluid.prices import Prices
from benchmarks.fluid.rates import Rates
from benchmarks.fluid.service import Curve, Fluid
from benchmarks.fluid.stored import Store
from planner.deployment import Plan
from planner.rebalancing.phase_program import PHASES
from provisioners.leases.journal import LeaseState
from provisioners.leases.ledger import spend, usd_per_hour
from runtime.router.watching.observed import KEPT_REQUESTS
from tests.provisioners.fakes import FakeClock
from thunderctl.controller.adapting.adapter import Adapter
from thunderctl.controller.adapting.in_force import as_routed
from thunderctl.controller.clock import SteadyClock
from thunderctl.controller.listings import Listings
from thunderctl.controller.loop import Controller
from thunderctl.controller.observe import Observer
from thunderctl.controller.process import REPLACING
from thunderctl.controller.sizing.beside import Beside
from thunderctl.controller.sizing.sizer import Sizer
from thunderctl.fleet.resting import Resting
from thunderctl.spec.spec import Spec

SOON, LOOK_S = 3, 30.0
"""Ticks that follow at a real one's pace at most, and until an assessment that promises something is made again."""
UNDER_WAY_S = 7.0
"""Of a replica's requests these are missed when it is lost: until the router gives it up, and those under way."""


@dataclass(slots=True)
class Days:
    """One controller and its world. `tick_s` is its tick; a real one's is 2 s."""

    plan: Plan
    spec: Spec
    load: Load
    prices: Prices
    rates: Rates
    curve: Curve
    losses: list[Loss]
    folder: Path
    tick_s: float = 60.0
    windows_at: tuple[int, ...] = ()
    tell: Callable[[str], None] = lambda _: None
    lived: Lived = field(default_factory=Lived)
    clock: FakeClock = field(default_factory=FakeClock)
    ups: list[Up] = field(default_factory=list)
    began_at: float = field(init=False)
    store: "Store" = field(init=False)
    cloud: SpotCloud = field(init=False)
    router: SimulatedRouter = field(init=False)
    leases: Leases = field(init=False)
    fluid: Fluid = field(init=False)
    controller: Controller = field(init=False)
    _seen_s: float = 0.0
    _hit: float = 0.0
    _soon: int = 0
    _changes: int = 0

    def __post_init__(self) -> None:
        self.began_at = self.clock.at
        self.store = Store(self.clock, self.spec, self.plan)
        self.cloud = SpotCloud(self.clock, self.prices, self.began_at)
        self.router = SimulatedRouter(self.plan)
        self.router.traffic = self._traffic
        self.leases = Leases(self.store, self.cloud, self.plan)
        self.fluid = Fluid(self.curve, self.plan.slo.ttft_s)
        for one in self.plan.instances:
            self.leases.lease(one, ready=True)
        self.controller = self._controller()

    def live(self) -> Lived:
        asyncio.run(self._live())
        rows = self.store.leases(DEPLOYMENT)
        self.lived.spent_usd = float(spend(rows, (), self.clock.at).usd)
        self.lived.leased = self.leases.made - len(self.plan.instances)
        self.lived.epochs = self.router.epochs
        for _, kind, _ in self.store.told:
            self.lived.events[kind] = self.lived.events.get(kind, 0) + 1
        self.lived.released = self.lived.events.get("controller.release", 0)
        changes = [self.store.details[n] for n, (_, kind, _) in enumerate(self.store.told) if kind == "rebalance"]
        self.lived.rebalances, self.lived.flips = len(changes), sum(len(one.get("flips", ())) for one in changes)
        return self.lived

    async def _live(self) -> None:
        end_s = self.load.minutes * MINUTE_S
        gc.freeze()  # as `thunderctl.controller.lead` does
        with measured(self.controller.observer, self.lived):
            while (at_s := self.clock.at - self.began_at) < end_s:
                started = time.thread_time()
                await self.controller.tick()
                self.lived.tick_s.append(time.thread_time() - started)
                for _ in range(5):
                    await asyncio.sleep(0)  # what is done beside the ticks gets its turn
                await self._besides()
                self._pass(min(self._pause_s(), end_s - at_s))
        if self.controller.adapter is not None:
            await self.controller.adapter.close()

    def _pause_s(self) -> float:
        """Until the next tick: as long as in life where something is about to be done, else longer."""
        if self.controller.observer.pulse.missing:
            return looping.AGAIN_S
        adapter, changes = self.controller.adapter, self.store.resized
        news = changes != self._changes or self._has_sized()
        self._changes = changes
        self._soon = self._soon + 1 if news else 0
        if 0 < self._soon <= SOON or (adapter is not None and adapter._proposal is not None):
            return looping.TICK_S
        if adapter is not None and adapter._verdict.waits and adapter._drift.streak == 1:
            adapter._ended_at = None
            return min(LOOK_S, self.tick_s)
        return self.tick_s

    def say_who_replaces(self) -> None:
        names = sorted({name for up in self.ups for name in up.instances})
        self.store.replacing = f"{REPLACING}: {', '.join(names)}" if names else ""

    def _has_sized(self) -> bool:
        """Whether a look at the fleet's size has just ended with something to be done."""
        task = self.controller.observer.sizer.beside._task
        if task is None or not task.done() or task.exception() is not None:
            return False
        found, stored = task.result(), Resting.from_json(self.store.saved.resting)
        return (found.instances, found.woken) != (stored.instances, stored.woken)

    async def _besides(self) -> None:
        """Wait for an assessment, and for what should rest, where they are under way."""
        adapter, sizing = self.controller.adapter, self.controller.observer.sizer.beside
        tasks = [adapter._task if adapter is not None else None, sizing._task]
        await asyncio.gather(*(one for one in tasks if one is not None))

    def _pass(self, seconds: float) -> None:
        """Serve until the next tick, then let what happens happen."""
        at_s = self.clock.at - self.began_at
        end_s = at_s + seconds
        while at_s < end_s:
            minute_s = (at_s // MINUTE_S + 1) * MINUTE_S
            self._serve(at_s, min(end_s, minute_s) - at_s)
            at_s = min(end_s, minute_s)
        self.clock.at += seconds
        while self.losses and self.losses[0].at_s <= at_s:
            self._lose(self.losses.pop(0))
        self.cloud.passed()
        for up in self.ups:
            up.passed()
        self.lived.refused += sum(up.refused for up in self.ups if not up.left)
        self.ups = [up for up in self.ups if up.left]
        self.say_who_replaces()
        costs = float(usd_per_hour(self.store.leases(DEPLOYMENT)))
        assert costs <= self.plan.budget_usd_per_hour + 1e-6, (costs, self.plan.budget_usd_per_hour)

    def _serve(self, at_s: float, seconds: float) -> None:
        """Within a minute: the load of the next is another."""
        minute = min(int(at_s // MINUTE_S), self.load.minutes - 1)
        rate, share = float(self.load.rate_rps[minute]), float(self.load.coding_share[minute])
        rps = self._rps(share)
        routes = self.router.in_force
        shares = [(one.prefill, one.decode, one.share) for one in routes.routes]
        met = self.fluid.attained(shares, rps, rate, seconds)
        hit = min(self._hit, rate * seconds)
        self._hit -= hit
        self._note(at_s, seconds, rate, met * (1 - hit / (rate * seconds)), len(rps))
        if len(self.lived.windows) < sum(at <= minute for at in self.windows_at):
            self.lived.windows[minute] = self._in_force(rps)  # the first interval in or after such a minute

    def _note(self, at_s: float, seconds: float, rate: float, met: float, serving: int) -> None:
        self.lived.attained.append(met)
        self.lived.seconds.append(seconds)
        self.lived.burned.append(float(usd_per_hour(self.store.leases(DEPLOYMENT))))
        self.lived.serving.append(serving)
        if at_s - self._seen_s >= 3600:
            self._seen_s = at_s
            self.tell(
                f"hour {at_s / 3600:.0f}: {rate:.0f} requests/s, {serving} replicas, attained {met:.3f}, "
                f"${self.lived.burned[-1]:.0f}/h, tick {1e3 * float(np.median(self.lived.tick_s[-60:])):.0f} ms"
            )

    def _rps(self, coding_share: float) -> dict[str, float]:
        """What the replicas that are there serve in the phases in force."""
        table = self.rates.at(coding_share)
        there = {
            row.instance
            for row in self.store.leases(DEPLOYMENT)
            if row.state in (LeaseState.READY, LeaseState.DRAINING) and row.provider_id in self.cloud.machines
        }
        phases = {one.id: one.phase for one in self.router.in_force.replicas}
        return {
            one.id: float(table[number % len(table), PHASES.index(phases[one.id])])
            for number, one in enumerate(self.plan.replicas)
            if one.id in phases and one.instances[0] in there
        }

    def _in_force(self, rps: dict[str, float]) -> Plan:
        whole = as_routed(self.plan, self.router.in_force)
        kept = tuple(one for one in whole.routes if one.prefill in rps and one.decode in rps)
        share = sum(one.share for one in kept)
        return replace(
            whole,
            replicas=tuple(one for one in whole.replicas if one.id in rps),
            routes=tuple(replace(one, share=one.share / share) for one in kept),
        )

    def _lose(self, loss: Loss) -> None:
        ready = [
            row
            for row in self.store.leases(DEPLOYMENT)
            if row.state is LeaseState.READY
            and row.provider_id in self.cloud.machines
            and row.provider_id not in self.cloud.doomed
        ]
        if not ready:
            return
        row = ready[int(loss.pick * len(ready))]
        self.lived.lost += 1
        self.cloud.take_back(row.provider_id, notice=loss.notice)
        if not loss.notice:
            minute = min(int((self.clock.at - self.began_at) // MINUTE_S), self.load.minutes - 1)
            self._hit += float(self.load.rate_rps[minute]) / len(ready) * UNDER_WAY_S

    def _traffic(self, window_s: float) -> dict[str, Any]:
        """What the router saw in the last so many seconds, in whole minutes: no more requests than it remembers."""
        end = max(1, min(round((self.clock.at - self.began_at) / MINUTE_S), self.load.minutes))
        window_s = min(window_s, KEPT_REQUESTS / float(self.load.rate_rps[end - 1]))
        seen = slice(max(0, end - max(1, round(window_s / MINUTE_S))), end)
        rate, coding = float(self.load.rate_rps[seen].mean()), float(self.load.coding_rps[seen].mean())
        return {"lengths": mixture(coding / rate).lengths, "rate_rps": rate, "window_s": window_s}

    def _controller(self) -> Controller:
        self.folder.mkdir(exist_ok=True)
        world: Any = SimpleNamespace(
            name=DEPLOYMENT,
            store=self.store,
            router=self.router,
            provisioner=lambda _: self.cloud,
            controller=SimpleNamespace(folder=self.folder, log=self.folder / "controller.log"),
            spec=lambda: self.spec,
            router_tls=lambda: None,
            forget_providers=lambda: None,
        )
        now = SteadyClock(self.clock, self.clock)
        listings = Listings(world, replace(self.clock.pace(), now=now))
        adapter = Adapter(world, now, self.clock, by_fluid(self.rates, self.curve, beside(self.lived, "assessment")))
        contact: Any = Agents(self.cloud, self.plan)
        sizer = Sizer(beside=Beside(beside(self.lived, "sizing")))
        observer = Observer(world, contact, listings, now, proposed=adapter.proposed, sizer=sizer)
        actor = Hands(world, listings, observer.missing)
        actor.days = self
        return Controller(
            world,
            observer,
            actor,
            lambda _: None,
            tick_s=60.0,
            adapter=adapter,
            clock=self.clock,
            sleep=self.clock.sleep,
        )
