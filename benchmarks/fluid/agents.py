"""Agents that answer on every machine that is there, and a router that follows what it is told."""

from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any

from benchmarks.fluid.cloud import SpotCloud
from planner.deployment import Plan
from provisioners.base import Machine
from provisioners.leases.journal import LeaseRow, LeaseState
from runtime.messages import AgentHealth, EngineHealth, ReplicaAddress, Routes, agent_name
from runtime.router.watching.observed import WINDOW_S
from thunderctl.deploying.routing import replicas_of, shares_of
from thunderctl.observing.observe import InstanceView

URL = "https://{}/r/{}"


class Agents:
    """On machines that were made ready an engine is; on others none yet."""

    def __init__(self, cloud: SpotCloud, plan: Plan) -> None:
        self.cloud = cloud
        self.on = {one.instances[0]: one.id for one in plan.replicas}
        self._answers: dict[str, tuple[Any, AgentHealth]] = {}

    async def hear(self, rows: Collection[LeaseRow], machines: Mapping[str, Machine]) -> list[InstanceView]:
        return [self._view(row, machines.get(row.lease_id)) for row in rows if row.state.runs]

    def _view(self, row: LeaseRow, machine: Machine | None) -> InstanceView:
        if row.provider_id not in self.cloud.machines or row.state is LeaseState.CREATED:
            return InstanceView(row, machine, problem="its agent did not answer within 2.5 s")
        if row.lease_id not in self._answers:
            agent = SimpleNamespace(url=f"https://{row.instance}", name=agent_name(row.lease_id))
            engines = (EngineHealth(self.on[row.instance], "ready"),)
            self._answers[row.lease_id] = agent, AgentHealth(row.instance, "1", engines=engines)
        return InstanceView(row, machine, *self._answers[row.lease_id])


class SimulatedRouter:
    """`traffic` is what it saw in so many seconds; requests that were under way have ended by the next look."""

    def __init__(self, plan: Plan) -> None:
        addresses = {
            one.id: ReplicaAddress(one.id, one.phase, URL.format(one.instances[0], one.id)) for one in plan.replicas
        }
        self.in_force = Routes(1, "qwen3-8b", tuple(replicas_of(plan, addresses)), tuple(shares_of(plan)), plan.plan_id)
        self.traffic: Callable[[float], dict[str, Any]] = lambda _: {}
        self.is_closed = self.is_unlinked = False
        self.may_run, self.deaths = True, (0, 0.0)
        self.epochs = 0
        self.endpoint = URL.format("router", "v1")

    def running(self) -> dict[str, int]:
        return {"pid": 1}

    def routes(self) -> Routes:
        return self.in_force

    def listened(self, listen: str) -> str:
        return listen

    async def observed(self, window_s: float | None = None) -> dict[str, Any]:
        return {"in_flight_at": {}, "closed": self.is_closed, "replicas": [], **self.traffic(window_s or WINDOW_S)}

    async def serve(self, routes: Routes, _serving: object) -> None:
        self.in_force, self.is_closed = routes, False
        self.epochs += 1

    async def close(self) -> None:
        self.is_closed = True

    async def stop(self) -> None:
        self.is_closed = True
