"""A store in memory, as of tests, that tells what the simulated days ask of it often."""

from dataclasses import replace
from typing import Any

from planner.deployment import Plan
from tests.provisioners.fakes import FakeClock
from tests.thunderctl.controller.worlds import MemoryStore
from thunderctl.spec.spec import Spec


class Store(MemoryStore):
    """`resized` counts how often another size of the fleet was decided."""

    def __init__(self, clock: FakeClock, spec: Spec, plan: Plan) -> None:
        super().__init__(clock, spec)
        self.known = [plan]
        self.saved = replace(self.saved, plan_id=plan.plan_id, budget_usd_per_hour=plan.budget_usd_per_hour)
        self.resized = 0
        self._ended: dict[str, float] = {}

    def record(self, _deployment: str, kind: str, message: str, **detail: Any) -> None:
        super().record(_deployment, kind, message, **detail)
        self.resized += kind == "controller.resize"
        self._ended[kind] = self.clock.at

    def last_event_at(self, _deployment: str, kind: str) -> float | None:
        return self._ended.get(kind)
