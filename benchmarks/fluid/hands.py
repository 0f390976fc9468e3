"""The controller's hands over simulated days: all that it does, and a simulated `up` where it would start a process."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.fluid.leasing import Up
from planner.errors import Incomplete
from thunderctl.controller.act import Actor
from thunderctl.deploying.replacers import MOST
from thunderctl.fleet.resting import Resting

if TYPE_CHECKING:
    from benchmarks.fluid.days import Days


class Hands(Actor):
    """The controller's, with a simulated `up` in the place of a process."""

    days: "Days"

    def reap(self) -> None:
        pass

    def _replace(self, instances: Sequence[str], until: float | None) -> None:
        days, plan = self.days, self.days.plan
        if len(days.ups) >= MOST:
            raise Incomplete(f"{MOST} replacements are under way.")
        up = Up(days.leases, plan.budget_usd_per_hour, lambda: Resting.from_json(days.store.saved.resting).of(plan))
        up.begin(instances)
        days.ups.append(up)
        days.say_who_replaces()
