"""Puts together what the policy is asked about one deployment, and remembers what can't be seen at once.

What begins anew with a process (the load of the last hour, since when prices are above the budget) only delays. What is
at rest is in the store.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from planner.advice.startup import startup
from planner.deployment import Plan
from planner.errors import ThunderError
from planner.standing import Standing, abilities_of
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.windows import QUARTER_S, budget_at
from thunderctl.compose import read_workload
from thunderctl.controller.situation import Condition, Vital
from thunderctl.controller.sizing.beside import Beside
from thunderctl.controller.sizing.budgets import Budget, budget_from
from thunderctl.controller.sizing.load import load_of
from thunderctl.controller.sizing.lulls import Peaks
from thunderctl.controller.sizing.market import EVERY_S, quotes
from thunderctl.controller.sizing.policy import sized
from thunderctl.controller.sizing.view import Part, Quote, Rules, View, is_over
from thunderctl.resting import Resting
from thunderctl.routing import DRAIN_DEADLINE_S
from thunderctl.sections import BudgetSection
from thunderctl.spec import Spec
from thunderctl.twins import chosen
from thunderctl.world import World

REMEMBERED_S = 6 * 3600.0
"""For so long a machine that was released is thought to cost what it did last, where that is more than planned."""
LARGE = 64
"""Instances from which on what should rest is worked out beside the ticks: of 500 it takes up to 0.4 s."""
SAFETY_S = 60.0
"""Before a smaller budget begins: for looks and asks between draining and the proof that a machine is gone."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The deployment as store and agents show it now: the plan wanted, all leases it had, its replicas' conditions."""

    at: float
    plan: Plan
    planned_usd_per_hour: float
    resting: Resting
    rows: Sequence[LeaseRow]
    conditions: Mapping[str, Condition]
    transfer_usd_per_hour: float


@dataclass(slots=True)
class Sizer:
    """What a set of instances serves is worked out once for each plan, and only where it matters."""

    peaks: Peaks = field(default_factory=Peaks)
    load_rps: float | None = None
    quotes: Mapping[str, Quote] = field(default_factory=dict)
    beside: Beside = field(default_factory=Beside)
    _quoted_at: float | None = None
    _standing: tuple[str, Standing | None] = ("", None)
    _over_since: float | None = None
    _known_budget: tuple[tuple[BudgetSection, float], Budget] | None = None

    async def learn(self, fleet: Fleet, spec: Spec, observed: Mapping[str, Any] | None) -> None:
        """Note what comes in, and find out what parts of a plan serve that nobody has asked about yet."""
        self.load_rps = load_of(observed, fleet.plan)
        if self.load_rps is not None:
            self.peaks = self.peaks.noted(fleet.at, self.load_rps)
        if self._matters(fleet, spec) and self._standing[0] != fleet.plan.plan_id:
            self._standing = (fleet.plan.plan_id, await asyncio.to_thread(_standing, fleet.plan, spec))

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
        plan_id, standing = self._standing
        if plan_id != fleet.plan.plan_id or standing is None or not self._matters(fleet, spec):
            return None
        ends = [row.expires_at for row in fleet.rows if row.state.may_cost and row.expires_at is not None]
        return View(
            at=fleet.at,
            parts=parts_of(fleet),
            resting=fleet.resting,
            budget=self._budget(spec, fleet.planned_usd_per_hour, fleet.at),
            serves=standing,
            transfer_usd_per_hour=fleet.transfer_usd_per_hour,
            planned_transfer_usd_per_hour=fleet.plan.transfer_usd_per_hour,
            load_rps=self.load_rps,
            peaks=self.peaks,
            quotes=self.quotes,
            left_s=max(0.0, min(ends) - fleet.at) if ends else spec.budget.max_hours * 3600,
            replicas_on={one.id: frozenset(one.instances) for one in fleet.plan.replicas},
        )

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


def budget_of(spec: Spec, planned_usd_per_hour: float, at: float) -> Budget:
    """The budget in force from `at` on, and what it is outside all windows."""
    windows = tuple(one.window for one in spec.budget.windows)
    usual = spec.budget.model_copy(update={"windows": ()}).gate_usd_per_hour(planned_usd_per_hour, at)
    return budget_from(at, lambda when: min(usual, budget_at(when, usual, windows)), usual, windows)


def parts_of(fleet: Fleet) -> tuple[Part, ...]:
    """The plan's instances. One is ready where its machine is, and no replica on it is lost."""
    leases: dict[tuple[str, str], list[LeaseRow]] = {}
    for row in fleet.rows:
        leases.setdefault((row.instance, row.offer_id), []).append(row)
    dead = {name for name, condition in fleet.conditions.items() if condition.vital is Vital.LOST}
    broken = {name for one in fleet.plan.replicas if one.id in dead for name in one.instances}
    starts: dict[tuple[str, str, float], float] = {}
    found = []
    for one in fleet.plan.instances:
        kind = (one.provider, one.gpu, one.inet_down_gbit_per_s)
        if kind not in starts:
            starts[kind] = startup(fleet.plan.llm, one).seconds
        rows = leases.get((one.id, one.offer_id), [])
        costing = [row for row in rows if row.state.may_cost]
        it = chosen(row for row in rows if row.state.runs) or next(iter(costing), None)
        last = [row for row in rows if fleet.at - (row.ended_at or row.created_at) <= REMEMBERED_S]
        known_usd = one.usd_per_hour if not last else max(one.usd_per_hour, last[-1].usd_per_hour)
        found.append(
            Part(
                one.id,
                one.offer_id,
                known_usd if it is None else it.usd_per_hour,
                starts[kind],
                leased=bool(costing),
                ready=it is not None and it.state is LeaseState.READY and one.id not in broken,
            )
        )
    return tuple(found)


def _standing(plan: Plan, spec: Spec) -> Standing | None:
    """None where the plan can't be worked out with what the spec says of the workload: then its size stays."""
    try:
        abilities = abilities_of(plan, read_workload(spec))
    except ThunderError:
        return None
    return Standing(abilities, plan.predicted.goodput_rps)
