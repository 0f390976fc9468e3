"""Assesses beside the ticks, at most one at a time, and keeps what the policy wants until it is done or out of date."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from planner.errors import ThunderError
from planner.workload import Workload
from thunderctl.controller.adapting.assess import assess, confirmed
from thunderctl.controller.adapting.assessment import Proposal, Question
from thunderctl.controller.adapting.changes import changes_of
from thunderctl.controller.adapting.drift import Drift, Pace, Verdict
from thunderctl.controller.adapting.in_force import as_routed, moved_links
from thunderctl.controller.heard import Heard
from thunderctl.demand import observed_workload
from thunderctl.observing.links import known_links, measured_links
from thunderctl.observing.observe import Observation
from thunderctl.spec.inputs import forced_codec
from thunderctl.spec.sections import ControllerSection
from thunderctl.spec.spec import Spec
from thunderctl.world import World

KEPT_S = 120.0
"""How long a proposal may wait for the deployment's lock: what it rests on is old by then."""

InThread = Callable[..., Awaitable[Any]]
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Adapter:
    """One controller's. `now` tells the time, `clock` measures, `in_thread` is where assessments are worked out."""

    world: World
    now: Callable[[], float]
    clock: Callable[[], float] = time.monotonic
    in_thread: InThread = asyncio.to_thread
    _drift: Drift = field(default_factory=Drift)
    _verdict: Verdict = field(default_factory=lambda: Verdict(acts=False))
    _proposal: Proposal | None = None
    _task: "asyncio.Task[None] | None" = None
    _ended_at: float | None = None

    def look(self, heard: Heard, *, calm: bool) -> None:
        """Begin an assessment where one is due. What is not `calm` ends the row of those before, and all proposals."""
        wanted = self.world.spec().controller
        if not calm or not wanted.rebalance or heard.routing is None or heard.routes is None:
            self._drift, self._proposal = replace(self._drift, last=None, streak=0), None
            return
        if self._task is not None and not self._task.done():
            return
        if self._ended_at is None or self.clock() - self._ended_at >= wanted.assess_s:
            self._ended_at = self.clock()
            self._task = asyncio.ensure_future(self._look(heard))

    def proposed(self) -> Proposal | None:
        """What is to be put in force, while the routes it was made for are."""
        found = self._proposal
        routes = self.world.router.routes() if found else None
        if found and (routes is None or routes.epoch != found.epoch or self.now() - found.at > KEPT_S):
            self._proposal = found = None
        return found

    def report(self) -> Mapping[str, Any]:
        """The last assessment, for `status`; empty before the first."""
        last = self._drift.last
        if last is None:
            return {}
        return {
            "assessed_at": last.at,
            "predicted_now": last.now,
            "predicted_best": last.best,
            "gain": last.gain,
            "waits": self._verdict.waits,
            "cooling_until": self._verdict.cooling_until,
        }

    async def close(self) -> None:
        """Give up what is under way; a thread ends by itself."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look(self, heard: Heard) -> None:
        """One assessment; what fails is for the next one."""
        try:
            await self._assess(heard, self.world.spec())
        except ThunderError as error:
            log.info("no assessment: %s", error.message)
        except Exception:
            log.exception("an assessment failed")
        finally:
            self._ended_at = self.clock()

    async def _assess(self, heard: Heard, spec: Spec) -> None:
        pace, at = pace_of(spec.controller), self.now()
        changes = changes_of(self.world, at)
        drift = self._drift if self._drift.pace == pace else Drift(pace)
        question = replace(await self._question(heard, spec, drift.past(at, changes), at), known=drift.last)
        least = pace.least_gain(moved=bool(question.moved))
        drift = drift.after(await self.in_thread(assess, question, least_gain=least))
        self._drift, self._verdict = drift, drift.verdict(changes)
        if self._verdict.acts:
            self._proposal = await self.in_thread(confirmed, question, drift.last, least_gain=least)
            if self._proposal is None:
                self._drift = drift.declined(at)

    async def _question(self, heard: Heard, spec: Spec, past: tuple[Workload, ...], at: float) -> Question:
        assert heard.routing is not None
        assert heard.routes is not None
        plan = as_routed(heard.routing.plan, heard.routes)
        links = known_links(plan, {}, measured_links(Observation(heard.views, heard.routes, ""))).links
        workload = await self._workload(heard, spec.controller.window_s)
        moved = moved_links(plan, links)
        return Question(at, heard.routes.epoch, plan, workload, past, links, moved, forced_codec(spec))

    async def _workload(self, heard: Heard, window_s: float) -> Workload | None:
        """What came within the window; of too few requests to say much, within all that the router remembers."""
        assert heard.routing is not None
        for asked_s in (window_s, None):
            observed = await self.world.router.observed(asked_s)
            if found := observed_workload(observed, heard.routing.plan):
                return found
        return None


def pace_of(section: ControllerSection) -> Pace:
    """The policy's figures, by the spec."""
    return Pace(section.rebalance_margin, section.rebalance_cool_down_s)
