"""Serve with part of a plan: with what stands, while the rest is late, or where it is not to be had."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from statistics import median

from planner.deployment import Plan
from planner.reconcile import Step, StepKind
from thunderctl.deploying.apply import Report, StepResult, StepState, apply
from thunderctl.deploying.lifecycle import lineage
from thunderctl.deploying.routes import route_over
from thunderctl.deploying.site import Site

LATE_SHARE, LEAST_S, MOST_S = 0.5, 60.0, 300.0
"""What is not ready is late when half the time that the median replica took has passed since then: no less than this,
so that no routes are made for what comes in a moment, and no more."""
APART_S = 30.0
"""Between two epochs over what stands: replicas come one soon after the other."""
NAMED = 4


def late_at(ready_s: Collection[float]) -> float:
    """When what is not ready yet is late, in seconds since `up` began; `ready_s` is when each replica was ready."""
    middle = median(ready_s)
    return middle + min(max(LATE_SHARE * middle, LEAST_S), MOST_S)


def can_serve(plan: Plan, serving: Collection[str]) -> bool:
    """Whether these replicas can answer requests as the plan has them: a route is whole, or both phases are there."""
    phases = [replica.phase for replica in plan.replicas if replica.id in serving]
    whole = any({route.prefill, route.decode} <= set(serving) for route in plan.routes)
    return whole or (any(one.prefills for one in phases) and any(one.decodes for one in phases))


def routed_of(site: Site) -> frozenset[str] | None:
    """The replicas that get requests now; None where they are another plan's, which gives way to a whole one only."""
    world = site.world
    routes = world.router.routes() if world.router.may_run else None
    if routes is None:
        return frozenset()
    return frozenset(one.id for one in routes.replicas) if routes.plan_id in lineage(world, site.plan) else None


async def serve_over(site: Site, serving: Collection[str], why: str, report: Report, *, event: str) -> StepResult:
    """Put routes over these replicas in force, and say of the others `why` they are not among them."""
    missing = [replica.id for replica in site.plan.replicas if replica.id not in serving]
    named = ", ".join(missing) if len(missing) <= NAMED else f"{len(missing)} of {len(site.plan.replicas)} replicas"
    without = f"without {named}{why}"

    async def over_these(_step: Step) -> None:
        how = await route_over(site, serving)
        site.world.store.record(site.world.name, event, f"serving {without}: {how}")

    def told(result: StepResult) -> None:
        at = site.world.router.endpoint if result.state is StepState.DONE else ""
        detail = f"{without}, at {at}" if at else without
        report(replace(result, step=replace(result.step, detail=detail)))

    step = Step(StepKind.ROUTE, "routes", without)
    [result] = await apply([step], over_these, subjects={}, report=told, clock=site.clock)
    return result


class Meanwhile:
    """Serves with what stands as soon as the rest is late, and with more as more comes, until the plan is routed whole.

    It only ever adds: routes that hold a replica which does not stand here are left alone, and so are another plan's.
    `over` are the replicas that its last routes are over, and `result` is how putting them in force went. Those that
    are `resting` are not waited for.
    """

    def __init__(
        self, site: Site, steps: Sequence[Step], report: Report, resting: Collection[str] = frozenset()
    ) -> None:
        starts = {step.id for step in steps if step.what is StepKind.START} | set(resting)
        self._site = site
        self._report = report
        self._began = site.clock()
        self._ready_s = {replica.id: 0.0 for replica in site.plan.replicas if replica.id not in starts}
        self._again_at = self._began
        self._news = asyncio.Event()
        self._routing = asyncio.Lock()
        self._ended = False
        self.over: frozenset[str] = frozenset()
        self.result: StepResult | None = None

    def heard(self, result: StepResult) -> None:
        """Note a replica that became ready."""
        if result.step.what is StepKind.START and result.state is StepState.DONE:
            self._ready_s[result.step.id] = self._site.clock() - self._began
            self._news.set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """At work inside the block. What goes wrong with routes is reported, and ends nothing."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
            await self.end()
        finally:
            watching.cancel()
            await asyncio.wait({watching})
        if not watching.cancelled() and (bug := watching.exception()):
            raise bug

    async def end(self) -> None:
        """Once it returns no more routes are put in force here."""
        async with self._routing:
            self._ended = True

    async def _watch(self) -> None:
        while True:
            self._news.clear()
            wait_s = self._wait_s()
            if wait_s == 0:
                async with self._routing:
                    if self._ended:
                        return
                    await self._serve()
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._news.wait()

    def _wait_s(self) -> float | None:
        """Until routes are due over more than there are routes over now; None where nothing more stands."""
        plan, serving = self._site.plan, self._ready_s.keys()
        if len(serving) == len(plan.replicas) or not can_serve(plan, serving) or serving <= self.over:
            return None
        routed = routed_of(self._site)
        if routed is None or not routed < serving:
            return None
        late = self._began + late_at(self._ready_s.values())
        return max(0.0, max(late, self._again_at) - self._site.clock())

    async def _serve(self) -> None:
        self.over = frozenset(self._ready_s)
        late = ", which come later" if len(self._site.plan.replicas) - len(self.over) > 1 else ", which is late"
        self.result = await serve_over(self._site, self.over, late, self._report, event="up.partly")
        self._again_at = self._site.clock() + APART_S
