"""Puts together what the policy is asked about one deployment, and remembers what can't be seen at once.

What begins anew with a process (the load of the last hour, since when prices are above the budget) only delays. What is
at rest is in the store.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from planner.deployment import Plan
from planner.errors import ThunderError
from planner.part_rates import PartRates, abilities_of
from provisioners.leases.journal import LeaseRow
from provisioners.leases.windows import QUARTER_S, budget_at
from thunderctl.controller.sizing.beside import Beside
from thunderctl.controller.sizing.budgets import Budget, budget_from
from thunderctl.controller.sizing.fleet import Fleet, broken_in, parts_of
from thunderctl.controller.sizing.going import besides, going_since
from thunderctl.controller.sizing.load import load_of
from thunderctl.controller.sizing.lulls import Peaks
from thunderctl.controller.sizing.market import EVERY_S, quotes
from thunderctl.controller.sizing.policy import sized
from thunderctl.controller.sizing.view import Part, Quote, Rules, View, is_over
from thunderctl.demand import stated_workload
from thunderctl.deploying.routing import DRAIN_DEADLINE_S
from thunderctl.fleet.resting import Resting
from thunderctl.spec.sections import BudgetSection
from thunderctl.spec.spec import Spec
from thunderctl.world import World

LARGE = 64
"""Instances from which on what should rest is worked out beside the ticks: of 500 it takes up to 0.4 s."""
SAFETY_S = 60.0
"""Before a smaller budget begins: for looks and asks between draining and the proof that a machine is gone."""


@dataclass(slots=True)
class Sizer:
    """What a set of instances serves is worked out once for each plan, and only where it matters."""

    peaks: Peaks = field(default_factory=Peaks)
    load_rps: float | None = None
    quotes: Mapping[str, Quote] = field(default_factory=dict)
    beside: Beside = field(default_factory=Beside)
    _quoted_at: float | None = None
    _part_rates: tuple[str, PartRates | None] = ("", None)
    _over_since: float | None = None
    _going_since: Mapping[str, float] = field(default_factory=dict)
    _known_budget: tuple[tuple[BudgetSection, float], Budget] | None = None
    _known_parts: tuple[tuple[Plan, Sequence[LeaseRow], frozenset[str]], tuple[Part, ...]] | None = None
    _replicas_on: tuple[str, Mapping[str, frozenset[str]]] | None = None

    async def learn(self, fleet: Fleet, spec: Spec, observed: Mapping[str, Any] | None) -> str:
        """Note what comes in, and find out what parts of a plan serve that nobody has asked about yet.

        Says why what the spec says is coming can't be read, where that was just found out.
        """
        self.load_rps = load_of(observed, fleet.plan)
        if self.load_rps is not None:
            self.peaks = self.peaks.noted(fleet.at, self.load_rps)
        if self._matters(fleet, spec) and self._part_rates[0] != fleet.plan.plan_id:
            rates, unread = await asyncio.to_thread(_part_rates, fleet.plan, spec)
            self._part_rates = fleet.plan.plan_id, rates
            return unread
        return ""

    async def look_at_market(self, world: World, plan: Plan, spec: Spec) -> None:
        """Find out what would be cheaper; what is known is forgotten where nobody answers."""
        self.quotes = await quotes(world, plan, spec)

    def market_is_due(self, at: float) -> bool:
        """Whether prices are above the budget, and the market was not looked at of late. It is from now on."""
        known = self._quoted_at is not None and 0 <= at - self._quoted_at < EVERY_S
        if self._over_since is None or known:
            return False
        self._quoted_at, self.quotes = at, {}
        return True

    def wanted(self, fleet: Fleet, spec: Spec) -> Resting | None:
        """What should rest now; None where nothing can be said."""
        view = self.view(fleet, spec)
        if view is None:
            self._over_since = None
            return None
        self._over_since = (self._over_since or fleet.at) if is_over(view) else None
        view = replace(view, over_since=self._over_since)
        look = sized if len(view.parts) < LARGE else self.beside.wanted
        return look(view, rules_of(spec))

    def view(self, fleet: Fleet, spec: Spec) -> View | None:
        plan_id, rates = self._part_rates
        if plan_id != fleet.plan.plan_id or rates is None or not self._matters(fleet, spec):
            return None
        parts = self._parts(fleet)
        self._going_since = going_since(fleet, self._going_since)
        beside = besides(fleet, self._going_since, _patience_s(parts, spec))
        ends = [row.expires_at for row in fleet.rows if row.state.may_cost and row.expires_at is not None]
        return View(
            at=fleet.at,
            parts=parts,
            resting=fleet.resting,
            budget=self._budget(spec, fleet.planned_usd_per_hour, fleet.at),
            serves=rates,
            transfer_usd_per_hour=fleet.transfer_usd_per_hour,
            outside_usd_per_hour=beside.stays_usd_per_hour,
            going_usd_per_hour=beside.going_usd_per_hour,
            planned_transfer_usd_per_hour=fleet.plan.transfer_usd_per_hour,
            load_rps=self.load_rps,
            peaks=self.peaks,
            quotes=self.quotes,
            left_s=max(0.0, min(ends) - fleet.at) if ends else spec.budget.max_hours * 3600,
            replicas_on=self._replicas(fleet.plan),
        )

    def _parts(self, fleet: Fleet) -> tuple[Part, ...]:
        """Put together once for all looks between which nothing has changed."""
        asked, known = (fleet.plan, fleet.rows, broken_in(fleet)), self._known_parts
        if known is None or known[0][0] is not asked[0] or known[0][1] is not asked[1] or known[0][2] != asked[2]:
            known = self._known_parts = asked, parts_of(fleet)
        return known[1]

    def _replicas(self, plan: Plan) -> Mapping[str, frozenset[str]]:
        if self._replicas_on is None or self._replicas_on[0] != plan.plan_id:
            self._replicas_on = plan.plan_id, {one.id: frozenset(one.instances) for one in plan.replicas}
        return self._replicas_on[1]

    def _budget(self, spec: Spec, planned_usd_per_hour: float, at: float) -> Budget:
        """Looked up anew every quarter of an hour, as it is long to look up."""
        known = self._known_budget
        asked = (spec.budget, planned_usd_per_hour)
        if known is None or known[0] != asked or not 0 <= at - known[1].at < QUARTER_S:
            known = self._known_budget = (asked, budget_of(spec, planned_usd_per_hour, at))
        return known[1].later(at)

    def _matters(self, fleet: Fleet, spec: Spec) -> bool:
        """Whether anything could follow: else nothing is worked out."""
        if spec.budget.windows or spec.controller.scale != "off" or fleet.resting.instances or fleet.resting.woken:
            return True
        costs = sum(row.usd_per_hour for row in fleet.rows if row.state.may_cost) + fleet.transfer_usd_per_hour
        return costs > spec.budget.gate_usd_per_hour(fleet.planned_usd_per_hour, fleet.at)


def rules_of(spec: Spec) -> Rules:
    """What the spec says, and what draining and the proof that a machine is gone take."""
    of = spec.controller
    return Rules(
        scale=of.scale != "off",
        min_replicas=of.min_replicas,
        lead_s=DRAIN_DEADLINE_S + spec.leases.settle_s + SAFETY_S,
        quiet_s=of.scale_after_s,
        cool_down_s=of.scale_cool_down_s,
    )


def _patience_s(parts: Iterable[Part], spec: Spec) -> float:
    """How long a machine may take to be gone before another would rather rest for it: what that one would take to drain
    and go, or to come back."""
    return max((one.start_s for one in parts), default=0.0) + rules_of(spec).lead_s


def budget_of(spec: Spec, planned_usd_per_hour: float, at: float) -> Budget:
    """The budget in force from `at` on, and what it is outside all windows."""
    windows = tuple(one.window for one in spec.budget.windows)
    usual = spec.budget.model_copy(update={"windows": ()}).gate_usd_per_hour(planned_usd_per_hour, at)
    return budget_from(at, lambda when: min(usual, budget_at(when, usual, windows)), usual, windows)


def _part_rates(plan: Plan, spec: Spec) -> tuple[PartRates | None, str]:
    """None where the plan can't be worked out with what the spec says of the workload: then its size stays.

    Where that can't be read any more, it is worked out with what the plan knows of it, and why is said: budgets don't
    wait for a file.
    """
    workload, unread = stated_workload(spec, plan)
    try:
        abilities = abilities_of(plan, workload)
    except ThunderError:
        return None, unread
    return PartRates(abilities, plan.predicted.goodput_rps), unread
