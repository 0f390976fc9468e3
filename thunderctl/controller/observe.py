"""Looks at a deployment from all sides, and puts together what a decision rests on."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from planner.errors import HostError
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.limits import Limit
from runtime.messages import agent_name
from thunderctl.controller.adapting.assessment import Proposal
from thunderctl.controller.clock import SteadyClock
from thunderctl.controller.contact import Contact
from thunderctl.controller.errands import AT_WORK
from thunderctl.controller.heard import Heard
from thunderctl.controller.listings import Listings
from thunderctl.controller.lost import lost_of, unwatched
from thunderctl.controller.missing_trace import MissingTrace
from thunderctl.controller.plans import Plans
from thunderctl.controller.pulse import Pulse, sign_of
from thunderctl.controller.situation import Routing, Situation
from thunderctl.controller.sizing.fleet import REMEMBERED_S, Fleet
from thunderctl.controller.sizing.sizer import Sizer
from thunderctl.deploying.replacers import instances_of, replacers
from thunderctl.fleet.resting import Resting
from thunderctl.money.spending import Spending, spending_from
from thunderctl.observing.known_leases import KnownLeases, Leased
from thunderctl.observing.observe import Observation, addresses_of, of_plan
from thunderctl.observing.transfers import transfer_readings
from thunderctl.spec.spec import Spec
from thunderctl.spec.stored_spec import read_stored
from thunderctl.store.values import Deployment
from thunderctl.world import World

MONEY_EVERY_S = 30.0
LATE_S = 3600.0
"""For so long after a lease was given up its provider is looked at: the machine may turn up, and bills then."""


@dataclass(slots=True)
class Observer:
    """Remembers from tick to tick only what can't be seen at once: misses in a row, since when one drains, when a
    command was last seen to change the deployment (at first: just now, as nobody knows), and when any agent was last
    heard (at first: `heard_before`, when a controller before this one last heard any)."""

    world: World
    contact: Contact
    listings: Listings
    now: SteadyClock
    pulse: Pulse = field(default_factory=Pulse)
    proposed: Callable[[], Proposal | None] = lambda: None
    unsent: Callable[[Sequence[LeaseRow]], Mapping[str, float]] = lambda _: {}
    sizer: Sizer = field(default_factory=Sizer)
    heard_before: float | None = None
    missing: MissingTrace = field(init=False)
    _plans: Plans = field(init=False)
    _leases: KnownLeases = field(init=False)
    _leased: Leased = field(default_factory=Leased)
    _given_up: tuple[LeaseRow, ...] = ()
    _recent: tuple[Leased, float, tuple[LeaseRow, ...]] | None = None
    _resting: tuple[Mapping[str, Any], Resting] = field(default_factory=lambda: ({}, Resting()))
    _spec: Spec = field(default_factory=Spec)
    _unread: tuple[str, ...] = ()
    _written: Mapping[str, Any] | None = None
    _spending: tuple[Leased, Spending] | None = None
    _limits: tuple[Spending, float, tuple[Limit, ...], float] | None = None
    _draining_since: dict[str, float] = field(default_factory=dict)
    _worked_on_at: float = field(init=False)
    heard_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._worked_on_at = self.now()
        self.heard_at = self.heard_before or self._worked_on_at
        self.missing = MissingTrace(self.world)
        self._plans = Plans(self.world)
        self._leases = KnownLeases(self.world.name)

    @property
    def leased(self) -> bool:
        """Whether anything may cost, as far as is known, or turn up after it was given up."""
        return bool(self._leased.costing or self._given_up)

    @property
    def unheard(self) -> frozenset[str]:
        """The providers of leases of which nothing is known yet."""
        return self.listings.unheard({row.provider for row in self._leased.costing})

    async def speak(self) -> None:
        """Have agents hear that somebody is there."""
        await self.contact.hear(self._leased.costing, self.listings.machines)

    def leases(self) -> Leased:
        """As the store has them now."""
        self._leased = self._leases.read(self.world.store, self.now())
        return self._leased

    async def hear(self) -> Heard:
        """Ask agents and router. Whoever does not answer is shown so; a store that fails keeps no agent waiting."""
        asking = asyncio.ensure_future(self._ask_router())
        doubting = asyncio.ensure_future(self._doubt(asking))
        try:
            self._follow()
        finally:
            views = tuple(await self.contact.hear(self._leased.costing, self.listings.machines))
            doubting.cancel()
            observed, running = await asking
        if any(view.health is not None for view in views):
            self.heard_at = self.now()
        routes = self.world.router.routes()
        if routes is None:
            return Heard(views)
        leased = {(row.instance, row.offer_id) for row in self._leased.costing if row.state.runs}
        ready = {one.replica for view in views for one in view.engines if one.state == "ready"}
        plan, behind = self._plans.to_route(routes, leased, ready)
        down = {one["id"]: one["reason"] for one in (observed or {}).get("replicas", ()) if not one["healthy"]}
        in_flight = None if observed is None else observed.get("in_flight_at", {})
        admits = not self.world.router.is_unlinked and not (observed or {}).get("closed", False)
        deaths = self.world.router.deaths
        routing = Routing(
            plan, frozenset(one.id for one in routes.replicas), in_flight, running, admits, behind, deaths
        )
        by_instance = of_plan(views, plan)
        conditions = {one.id: self.pulse.felt(one.id, sign_of(one, by_instance, down)) for one in plan.replicas}
        heard = Heard(views, routes, routing, conditions, addresses_of(plan, views, routes))
        if (fleet := self._fleet(heard, self.world.store.deployment(self.world.name))) is not None:
            self.missing.note(await self.sizer.learn(fleet, self._spec, observed))
        return heard

    def situation(self, heard: Heard) -> Situation:
        """What was heard, beside what store and providers say by now."""
        deployment, at = self.world.store.deployment(self.world.name), self.now()
        replacing = instances_of(replacers(self.world.store, self.world.name))  # before what they may have come to
        leased = self.leases()
        if replacing:
            self._worked_on_at = at
        self._follow_spec(deployment.spec)  # an `up` may have ended since agents were asked
        spec, spending, rows = self._spec, self._money(leased, at), leased.costing
        resting, fleet = self._rests(deployment), self._fleet(heard, deployment)
        routing = self._caught_up(heard.routing)
        limits, left_usd = self._limits_of(spending, spec.budget.max_total_usd)
        lost = lost_of(heard.routing.plan, leased, resting) if heard.routing else ()
        return Situation(
            at=at,
            state=deployment.state,
            plan_id=deployment.plan_id,
            rows=rows,
            routing=routing,
            conditions=heard.conditions,
            limits=limits,
            left_usd=left_usd,
            problems=self.listings.problems,
            notices=self.listings.notices,
            distrust=self.listings.distrust({row.provider for row in rows}),
            listed=self.listings.listed,
            drained_s=self._drained_s(rows),
            moved=heard.moved,
            usd_per_hour=spending.machines_usd_per_hour + spending.transfer_usd_per_hour,
            budget_usd_per_hour=spec.budget.gate_usd_per_hour(deployment.budget_usd_per_hour, at),
            lost=lost,
            unwatched=unwatched(lost, self.heard_at, spec.leases.deadman_s),
            silent=heard.silent,
            replaced=self._plans.replaced(heard.routing.plan, deployment.plan_id) if heard.routing else (),
            ready_deadline_s=spec.leases.ready_deadline_s,
            worked_on_at=self._worked_on_at,
            replaces=spec.controller.replace_lost,
            unread=self._unread,
            unsent=self.unsent(rows),
            proposal=self.proposed(),
            replacing=replacing,
            resting=resting,
            wanted_rest=self.sizer.wanted(fleet, spec) if fleet else None,
        )

    def market_look(self, heard: Heard) -> Callable[[], Coroutine[Any, Any, None]] | None:
        """The look at the market that is due, where prices are above the budget."""
        if heard.routing is None or not self.sizer.market_is_due(self.now()):
            return None
        return partial(self.sizer.look_at_market, self.world, heard.routing.plan, self._spec)

    def count(self, heard: Heard) -> None:
        """Keep what agents say has moved between them: it costs money too."""
        plan = heard.routing.plan if heard.routing else None
        rows, seen = self._leased.rows, Observation(heard.views, heard.routes, "")
        self.world.store.record_transfers(transfer_readings(seen, rows, plan, self.now()))

    def due(self, heard: Heard) -> list[str]:
        """The providers whose listings are wanted now."""
        instances = heard.routing.plan.instances if heard.routing else ()
        rows = (*self._leased.costing, *self._given_up)
        return self.listings.due(rows, heard.silent, {one.provider for one in instances if one.interruptible})

    def _follow(self) -> None:
        """Read which leases there are, who changes them, and the spec, which another `up` may have changed."""
        rows, at = self.leases().rows, self.now()
        holder = self.world.store.holder(self.world.name)
        if holder is not None and holder.message != AT_WORK:
            self._worked_on_at = at
        self._given_up = tuple(
            row for row in rows if row.state is LeaseState.LOST and at - (row.ended_at or at) <= LATE_S
        )
        self._follow_spec(self.world.store.deployment(self.world.name).spec)

    def _follow_spec(self, written: Mapping[str, Any]) -> None:
        if written != self._written:
            self._written = written
            self._spec, self._unread = read_stored(written)
            self.world.forget_providers()
            self.listings.pace = replace(self.listings.pace, settle_s=self._spec.leases.settle_s)

    def _caught_up(self, routing: Routing | None) -> Routing | None:
        """A command may have put the routes in force since it was heard that they were behind."""
        if routing is None or not routing.behind:
            return routing
        routes = self.world.router.routes()
        return replace(routing, behind=routes is None or routes.plan_id != routing.plan.plan_id)

    def _fleet(self, heard: Heard, deployment: Deployment) -> Fleet | None:
        """What its size is decided on; None while nothing is routed, or another plan than the one wanted."""
        if heard.routing is None or heard.routing.plan.plan_id != deployment.plan_id:
            return None
        at = self.now()
        return Fleet(
            at,
            heard.routing.plan,
            deployment.budget_usd_per_hour,
            self._rests(deployment),
            self._remembered(at),
            heard.conditions,
            float(self._money(self._leased, at).transfer_usd_per_hour),
        )

    def _rests(self, deployment: Deployment) -> Resting:
        """Read once for all looks between which nothing has changed, as there may be hundreds."""
        if self._resting[0] != deployment.resting:
            self._resting = deployment.resting, Resting.from_json(deployment.resting)
        return self._resting[1]

    def _remembered(self, at: float) -> tuple[LeaseRow, ...]:
        """Leases that are over and whose prices are remembered, and those that may cost: looked up once a minute."""
        minute = at // 60 * 60
        if self._recent is None or self._recent[0] is not self._leased or self._recent[1] != minute:
            some = (*self._leased.ended_since(minute - REMEMBERED_S), *self._leased.costing)
            self._recent = self._leased, minute, some
        return self._recent[2]

    def _money(self, leased: Leased, at: float) -> Spending:
        """What was spent, added up now and then, and whenever a lease has changed: it is long to read."""
        known = self._spending
        if known is None or at - known[1].now >= MONEY_EVERY_S or known[0] is not leased:
            known = self._spending = leased, spending_from(self.world.store, self.world.name, leased.rows, at)
        return known[1]

    def _limits_of(self, spending: Spending, max_total_usd: float) -> tuple[tuple[Limit, ...], float]:
        """What is due, and the money that is left, in $. Worked out once for each look at the money: it goes through
        every lease that ever was."""
        if self._limits is None or self._limits[0] is not spending or self._limits[1] != max_total_usd:
            left_usd = max_total_usd - float(spending.life.spend.usd)
            self._limits = spending, max_total_usd, spending.limits(max_total_usd), left_usd
        return self._limits[2:]

    async def _doubt(self, asking: "asyncio.Task[tuple[dict[str, Any] | None, bool]]") -> None:
        """Have agents not be waited for long whose machine the router has given up: it is missed by both then."""
        try:
            observed, _ = await asyncio.shield(asking)
            routes = self.world.router.routes()
            down = {one["id"] for one in (observed or {}).get("replicas", ()) if not one["healthy"]}
        except Exception:
            return  # who waits for the answer says so
        known = routes.replicas if down and routes is not None else ()
        given_up = {one.server_name for one in known} - {one.server_name for one in known if one.id not in down}
        if given_up:
            self.contact.doubt([row.lease_id for row in self._leased.costing if agent_name(row.lease_id) in given_up])

    async def _ask_router(self) -> tuple[dict[str, Any] | None, bool]:
        """What it observed (None: it can't be asked), and whether it runs, as one may to which no link leads."""
        if not self.world.router.may_run:
            return {}, False
        try:
            return await self.world.router.observed(), True
        except HostError:
            return None, True

    def _drained_s(self, rows: Sequence[LeaseRow]) -> dict[str, float]:
        clock = self.listings.pace.clock()
        draining = [row.lease_id for row in rows if row.state is LeaseState.DRAINING]
        self._draining_since = {one: self._draining_since.get(one, clock) for one in draining}
        return {one: clock - since for one, since in self._draining_since.items()}
