"""A deployment without processes: a provider with faults, agents that answer or don't, a router, and a clock that only
moves when somebody sleeps. The controller, its lease protocol and its search are the real ones."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from planner.document import plan_from_json, plan_to_json
from planner.errors import HostError, Refused, ThunderError
from provisioners.base import Label, Machine
from provisioners.leases.journal import LeaseState
from runtime.messages import AgentHealth, EngineHealth, LinkHealth, ReplicaAddress, Routes, agent_name
from tests.provisioners.fakes import OWNER, FakeClock, FakeCloud, MemoryJournal
from tests.thunderctl.controller.situations import PLAN, row
from thunderctl.controller.act import Actor
from thunderctl.controller.adapting.adapter import Adapter
from thunderctl.controller.clock import SteadyClock
from thunderctl.controller.listings import Listings
from thunderctl.controller.loop import Controller
from thunderctl.controller.observe import Observer
from thunderctl.deploying.routing import shares_of
from thunderctl.observing.observe import InstanceView
from thunderctl.spec.spec import Spec
from thunderctl.store.values import Deployment, DeploymentState, Event, SavedPlan

HOURS = 3600.0


class MemoryStore(MemoryJournal):
    """Everything that the controller asks of a store. `down` says why nothing can be read or written, `held` who has
    the deployment's lock, `replacing` who a row of those that replace machines."""

    def __init__(self, clock: FakeClock, spec: Spec) -> None:
        super().__init__()
        self.clock = clock
        self.saved = Deployment(
            "d", DeploymentState.SERVING, 1, PLAN.plan_id, "", 5.0, spec.model_dump(mode="json", exclude_unset=True)
        )
        self.told: list[tuple[float, str, str]] = []
        self.details: dict[int, dict] = {}
        self.known = [PLAN]
        self.down = self.held = self.replacing = ""
        self.locked = 0

    def leases(self, deployment=None, **how):
        self._works()
        return super().leases(deployment, **how)

    def lease(self, lease_id):
        self._works()
        return super().lease(lease_id)

    def deployment(self, _name):
        self._works()
        return self.saved

    def last_event_at(self, _deployment, kind):
        return max((at for at, told, _ in self.told if told == kind), default=None)

    def events_since(self, deployment, kind, at):
        return tuple(
            Event(number, when, deployment, told, message, self.details[number])
            for number, (when, told, message) in enumerate(self.told)
            if told == kind and when >= at
        )

    def save_deployment(self, deployment):
        self.saved = deployment

    def save_plan(self, _plan_id, _deployment, document):
        self.known.append(plan_from_json(document))

    def plan(self, plan_id, deployment):
        [plan] = [one for one in self.known if one.plan_id == plan_id]
        return SavedPlan(plan_id, deployment, 0.0, plan_to_json(plan))

    def plans(self, deployment):
        return tuple(self.plan(one.plan_id, deployment) for one in self.known)

    def record(self, _deployment, kind, message, **detail):
        self._works()
        self.details[len(self.told)] = detail
        self.told.append((self.clock.at, kind, message))

    def record_transfers(self, readings):
        self.readings = tuple(readings)

    def holder(self, row):
        self._works()
        said = self.replacing if row == "d#replacing-0" else "" if "#" in row else self.held
        return SimpleNamespace(message=said) if said else None

    @contextmanager
    def lock(self, _deployment, _message, *, lasts_s=0.0, waits=True):
        if self.held:
            raise Refused(f"Deployment d is being changed: {self.held}.")
        self.locked += 1
        yield SimpleNamespace(renew=lambda: None, during=lambda work: work)

    def _works(self):
        if self.down:
            raise ThunderError(f"The store can't be used: {self.down}.")


class FakeRouter:
    """Follows the routes it is told; `requests` are those under way by replica, `traffic` what it saw of late."""

    def __init__(self) -> None:
        addresses = tuple(
            ReplicaAddress(one.id, one.phase, f"https://{one.instances[0]}/r/{one.id}") for one in PLAN.replicas
        )
        self.in_force = Routes(1, "llama", addresses, tuple(shares_of(PLAN)), PLAN.plan_id)
        self.is_running, self.is_closed, self.refuses = True, False, False
        self.is_unlinked, self.deaths = False, (0, 0.0)
        self.requests: dict[str, int] = {}
        self.served: list[Routes] = []
        self.traffic: dict = {}
        self.stop_grace_s = 0.0
        self.endpoint = "http://127.0.0.1:8000/v1"

    def running(self):
        return {"pid": 1} if self.is_running else None

    @property
    def may_run(self):
        return self.is_running or self.is_unlinked

    def routes(self):
        return self.in_force

    def listened(self, listen):
        return listen

    async def observed(self, window_s=None):
        if self.is_unlinked:
            raise HostError("The router has no link from here.")
        seen = {"in_flight_at": self.requests, "in_flight": {"1": sum(self.requests.values())}}
        return {**seen, "closed": self.is_closed, "replicas": [], **self.traffic}

    async def serve(self, routes, _serving):
        if self.refuses:
            raise HostError("The router can't be reached: connection refused.")
        self.in_force, self.is_running, self.is_closed, self.is_unlinked = routes, True, False, False
        self.served.append(routes)

    async def close(self):
        if self.refuses:
            raise HostError("The router can't be reached: connection refused.")
        self.is_closed = True

    async def stop(self):
        self.is_running = self.is_closed = self.is_unlinked = False

    @property
    def replicas(self):
        return {one.id for one in self.in_force.replicas} if self.is_running else set()


class FakeContact:
    """Agents on every machine that is there, but for the `deaf`, which are instances, and those `sought` for the first
    time. `started` are engines by instance, beside those of the plan. `asked` counts."""

    def __init__(self, cloud: FakeCloud) -> None:
        self.cloud = cloud
        self.deaf: set[str] = set()
        self.sought: set[str] = set()
        self.doubted: set[str] = set()
        self.failed: set[str] = set()
        self.started: dict[str, tuple[str, ...]] = {}
        self.asked = 0

    def doubt(self, leases):
        self.doubted = set(leases)

    async def hear(self, rows, machines):
        self.asked += 1
        return [self._view(one, machines.get(one.lease_id)) for one in rows if one.state.runs]

    def _view(self, lease, machine):
        if lease.instance in self.sought:
            return InstanceView(lease, machine, problem="its agent was not reached yet", pending=True)
        if lease.instance in self.deaf or lease.provider_id not in self.cloud.machines:
            return InstanceView(lease, machine, problem="its agent did not answer within 2.5 s")
        engines = tuple(
            EngineHealth(one.id, "failed" if one.id in self.failed else "ready")
            for one in PLAN.replicas
            if lease.instance == one.instances[0]
        ) + tuple(EngineHealth(name, "ready") for name in self.started.get(lease.instance, ()))
        links = tuple(LinkHealth(agent_name(f"l-{other}"), None, None, 1.0, 10**9) for other in ("i0", "i1", "i2"))
        agent = SimpleNamespace(url=f"https://{lease.instance}", name=agent_name(lease.lease_id))
        return InstanceView(lease, machine, agent, AgentHealth(lease.instance, "1", engines=engines, links=links))


async def at_once(work, *given, **known):
    """In a thread's place."""
    return work(*given, **known)


class ControllerWorld:
    """Three machines, three replicas, one controller; `again` makes another one, as after a crash.

    `ends_h`: hours after which leases end that do not last as long as the others.
    """

    def __init__(
        self,
        folder: Path,
        *,
        lease_h: float = 48.0,
        ends_h: Mapping[str, float] | None = None,
        leased: Collection[str] = ("i0", "i1", "i2"),
        tick_s: float = 2.0,
        spec: Spec | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.skew_s = 0.0
        self.spec = spec or Spec()
        self.store = MemoryStore(self.clock, self.spec)
        self.cloud = FakeCloud(self.clock, provider="vast")
        self.router, self.contact = FakeRouter(), FakeContact(self.cloud)
        self.tick_s = tick_s
        self.reports = deque(maxlen=1)
        folder.mkdir()
        self.world = SimpleNamespace(
            name="d",
            store=self.store,
            router=self.router,
            provisioner=lambda _: self.cloud,
            controller=SimpleNamespace(folder=folder, log=folder.with_suffix(".log")),
            spec=lambda: self.spec,
            router_tls=lambda: None,
            forget_providers=lambda: None,
        )
        for name in leased:
            self._rent(name, self.clock.at + (ends_h or {}).get(name, lease_h) * HOURS)
        self.again()

    def again(self) -> None:
        """Another process, which knows nothing but what is stored, what runs, and what the last one reported."""
        now = SteadyClock(lambda: self.clock.at + self.skew_s, self.clock)
        pace = replace(self.clock.pace(), now=now)
        listings = Listings(self.world, pace)
        adapter = Adapter(self.world, now, self.clock, at_once)
        heard_before = self.reports[-1].heard_at if self.reports else None
        self.observer = Observer(
            self.world, self.contact, listings, now, proposed=adapter.proposed, heard_before=heard_before
        )
        self.controller = Controller(
            self.world,
            self.observer,
            Actor(self.world, listings, self.observer.missing),
            self.reports.append,
            tick_s=self.tick_s,
            adapter=adapter,
            clock=self.clock,
            sleep=self.clock.sleep,
        )

    async def run(self, seconds: float) -> None:
        """The controller for so long."""
        end = self.clock.at + seconds
        await self.until(lambda: self.clock.at >= end, within_s=seconds + 120)

    async def until(self, condition: Callable[[], object], *, within_s: float) -> float:
        """The controller until this is so; how long that took."""
        start = self.clock.at

        class Over(Exception):
            pass

        async def sleep(seconds):
            if condition():
                raise Over
            assert self.clock.at - start <= within_s, (f"not within {within_s} s", self.events(), self.alerts)
            self.clock.at += seconds
            await asyncio.sleep(0)  # what is done beside the ticks gets its turn

        self.controller.sleep = sleep
        try:
            await self.controller.run()
        except Over:
            return self.clock.at - start
        raise AssertionError("the controller ended")

    def state(self, instance: str) -> LeaseState:
        return next(one.state for one in MemoryJournal.leases(self.store) if one.instance == instance)

    def events(self, kind: str = "") -> list[str]:
        return [message for _, found, message in self.store.told if found.startswith(kind)]

    @property
    def alerts(self) -> tuple[str, ...]:
        return self.reports[-1].alerts

    def _rent(self, instance: str, expires_at: float) -> None:
        label = str(Label(OWNER, "d", f"l-{instance}"))
        made = replace(
            row(instance), label=label, created_at=self.clock.at, sent_at=self.clock.at, expires_at=expires_at
        )
        self.store.add_lease(made)
        self.cloud.machines[made.provider_id] = Machine(
            made.provider_id, label, "running", 1.0, "10.0.0.1", self.clock.at
        )
