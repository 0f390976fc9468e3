"""Every baseline by name, and what simulation finds of each at the same budget."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from planner.baselines.cheapest_type import cheapest_type
from planner.baselines.distserve import distserve
from planner.baselines.helix import helix
from planner.baselines.hexgen import hexgen
from planner.baselines.setting import Setting
from planner.baselines.splitwise import splitwise
from planner.baselines.vllm import vllm
from planner.choosing.candidate import Candidate, simulated_goodput
from planner.choosing.drafting import plan_id
from planner.deployment import Alternative, Plan

Baseline: TypeAlias = Callable[[Setting], list[Candidate]]
"""Its best few configurations by the analytic score, best first; none where it serves nothing."""
BASELINES: Mapping[str, Baseline] = {
    "vllm": vllm,
    "distserve": distserve,
    "hexgen": hexgen,
    "splitwise": splitwise,
    "helix": helix,
    "cheapest-type": cheapest_type,
}


@dataclass(frozen=True, slots=True)
class Compared:
    """A baseline's best configuration by simulation; None where it serves nothing."""

    name: str
    chosen: Candidate | None
    goodput_rps: float
    seconds: float

    @property
    def usd_per_hour(self) -> float:
        """Instances and transfer, at its goodput."""
        if self.chosen is None:
            return 0.0
        return self.chosen.usd_per_hour + self.goodput_rps * self.chosen.pairing.transfer_usd_per_hour_per_rps

    @property
    def alternative(self) -> Alternative:
        return Alternative(self.name, self.goodput_rps, self.usd_per_hour)


def compared(setting: Setting, baselines: Mapping[str, Baseline] = BASELINES) -> Iterator[Compared]:
    """Each baseline at its best, one after the other."""
    for name, baseline in baselines.items():
        started = time.perf_counter()
        chosen, goodput = None, 0.0
        for one in baseline(setting):
            rps = simulated_goodput(
                setting.capacities.task, one, setting.budget_usd_per_hour, beyond_rps=goodput, seed=setting.seed
            )
            chosen, goodput = (one, rps) if rps > goodput else (chosen, goodput)
        yield Compared(name, chosen, goodput, time.perf_counter() - started)


def beside(plan: Plan, found: Sequence[Compared]) -> Plan:
    """The plan with the baselines among its alternatives, and a note of those that serve more than it."""
    alternatives = (*plan.alternatives, *(one.alternative for one in found))
    better = [one for one in found if one.goodput_rps > plan.predicted.goodput_rps]
    notes = (*plan.notes, *(_lost(plan, one) for one in better))
    named = replace(plan, alternatives=alternatives, notes=notes)
    return replace(named, plan_id=plan_id(named))


def _lost(plan: Plan, better: Compared) -> str:
    more = better.goodput_rps / plan.predicted.goodput_rps - 1
    return f"Baseline {better.name} serves {more:.1%} more than this plan: {better.goodput_rps:.2f} requests/s."
