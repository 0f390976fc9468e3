"""`Lookout`: what the controller itself tells over its API: what it heard last, and what the store knows.

Agents and providers are not asked for a reader's sake, however many there are: what the last tick heard is shown. The
router is asked what it observed, and the store is read, once a second at most, for all who want to know it then.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from planner.errors import HostError, SpecError, ThunderError
from provisioners.base import Machine
from provisioners.leases.journal import LeaseRow
from thunderctl.api.numbers import Numbers
from thunderctl.api.series import POINT_EVERY_S, Ring, series_document
from thunderctl.api.shared import Shared
from thunderctl.api.source import Document
from thunderctl.api.stored import Stored
from thunderctl.controller.contact import Contact
from thunderctl.controller.errands import AT_WORK
from thunderctl.controller.listings import Listings
from thunderctl.deploying.strays import Looked, look_around, strays_of
from thunderctl.history import history_of
from thunderctl.home import owner_id
from thunderctl.money.accounts import Accounts
from thunderctl.money.spending import Spending, warnings_of
from thunderctl.observing.observe import InstanceView, Observation
from thunderctl.status.documents.events import events_document
from thunderctl.status.documents.history import history_document
from thunderctl.status.documents.leases import lease_entry, leases_document
from thunderctl.status.status_reading import status_of
from thunderctl.store.locks import refusal
from thunderctl.store.store import Store
from thunderctl.world import World

FRESH_S = 1.0
MONEY_S = 5.0
STRAYS_S = 60.0
ROUTER_S = 2.0
AUDIT = "audit"
"""The kind of the events that say who asked for what."""
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Lookout:
    """Of one deployment. `world` is the controller's; its store is left to it, and `stored` is read instead."""

    world: World
    contact: Contact
    listings: Listings
    stored: Stored
    numbers: Numbers
    ring: Ring = field(default_factory=Ring)
    _status: Shared[Document] = field(init=False)
    _leases: Shared[Document] = field(init=False)
    _looked: Shared[tuple[Looked, ...]] = field(init=False)
    _accounts: Accounts = field(init=False)
    _spending: Spending | None = None
    _phases: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._accounts = Accounts(self.world.name)
        self._status = Shared(self._read_status, FRESH_S)
        self._leases = Shared(self._read_leases, FRESH_S)
        self._looked = Shared(lambda: look_around(self.world), STRAYS_S)

    async def status(self) -> Document:
        return await self._status.get()

    async def leases(self) -> Document:
        return await self._leases.get()

    async def plan(self, plan_id: str = "") -> Document:
        name = self.world.name

        def read(store: Store) -> Document:
            wanted = plan_id or store.deployment(name).plan_id
            if not wanted:
                raise LookupError(f"Deployment {name} has no plan.")
            try:
                return dict(store.plan(wanted, name).document)
            except SpecError as error:
                raise LookupError(error.message) from error

        return await self.stored.ask(read)

    async def events(
        self, *, after_id: int | None = None, since: float = 0.0, kinds: Sequence[str] = (), limit: int = 100
    ) -> Document:
        name = self.world.name
        found = await self.stored.ask(
            lambda store: store.events_where(name, after_id=after_id, since=since, kinds=kinds, limit=limit)
        )
        return events_document(found)

    async def history(self) -> Document:
        name = self.world.name
        return await self.stored.ask(lambda store: history_document(history_of(store, name)))

    def series(self, seconds: float) -> Document:
        return series_document(self.ring.since(seconds))

    async def record(self, message: str, detail: Mapping[str, Any]) -> None:
        await self.stored.ask(lambda store: store.record(self.world.name, AUDIT, message, **detail))

    async def who_works(self) -> str:
        holder = await self.stored.ask(lambda store: store.holder(self.world.name))
        return "" if holder is None or holder.message == AT_WORK else refusal(holder).message

    async def keep_points(self) -> None:
        """A point every few seconds, whoever looks; a gap where the store or the router can't be read."""
        while True:
            try:
                status = await self.status()
                self.ring.add(status)
                self._count_flips(status)
            except ThunderError as error:
                log.debug("no point: %s", error.message)
            except Exception:
                log.exception("a point can't be made")
            await asyncio.sleep(POINT_EVERY_S)

    async def _read_status(self) -> Document:
        views, machines = self.contact.views, self.listings.machines
        if views is None:
            raise ThunderError("The controller has just begun: its first look at the machines is not over.")
        unlisted = tuple(self.listings.distrust(sorted({view.lease.provider for view in views})))
        unlinked, may_run = self.world.router.is_unlinked, self.world.router.may_run
        traffic = await self._traffic() if may_run else {}

        def read(store: Store) -> Document:
            world = self._reading(store)
            rows = [row for row in store.leases(world.name, ended_since=inf) if row.state.may_cost]
            seen = Observation(
                instances=tuple(_views(rows, views, machines)),
                routes=world.router.routes() if may_run and rows else None,
                endpoint=world.router.endpoint,
                traffic=traffic,
                unlisted=unlisted,
                unlinked=unlinked,
            )
            return status_of(world, seen, spending=self._money(store))

        return await self.stored.ask(read)

    async def _read_leases(self) -> Document:
        looked = await self._looked.get()

        def read(store: Store) -> Document:
            spending = self._accounts.read(store)
            found = strays_of(looked, store.leases(ended_since=inf), owner_id())
            warnings = warnings_of(spending, self._reading(store).spec())
            shown = [lease_entry(row, spending.now) for row in spending.rows if row.state.may_cost]
            return leases_document(spending, shown, looked, found, warnings)

        return await self.stored.ask(read)

    def _money(self, store: Store) -> Spending:
        """Added up every few seconds: there may be much to read."""
        known = self._spending
        if known is None or not 0 <= time.time() - known.now < MONEY_S:
            known = self._spending = self._accounts.read(store)
        return known

    def _reading(self, store: Store) -> World:
        """The world over that store, for reading alone."""
        return World(self.world.name, store, self.world.folder)

    async def _traffic(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(ROUTER_S):
                return await self.world.router.observed()
        except TimeoutError:
            return {"problem": f"the router did not answer within {ROUTER_S:g} s"}
        except HostError as error:
            return {"problem": error.message}

    def _count_flips(self, status: Document) -> None:
        now = {one["id"]: one["phase"] for one in status["replicas"]}
        self.numbers.flips.inc(sum(self._phases.get(one, phase) != phase for one, phase in now.items()))
        self._phases = now


def _views(
    rows: Iterable[LeaseRow], views: Iterable[InstanceView], machines: Mapping[str, Machine]
) -> Iterator[InstanceView]:
    """Every lease that may cost, as the store has it by now, with what was heard of its machine last."""
    known = {view.lease.lease_id: view for view in views}
    for row in rows:
        if row.lease_id in known:
            yield replace(known[row.lease_id], lease=row)
        else:
            machine = machines.get(row.lease_id)
            yield InstanceView(row, machine, problem=machine.problem if machine else "the provider does not list it")
