"""Every baseline by name, and what simulation finds of each at the same budget."""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from planner.baselines.cheapest_type import cheapest_type
from planner.baselines.distserve import distserve
from planner.baselines.helix import helix
from planner.baselines.hexgen import hexgen
from planner.baselines.setting import Setting
from planner.baselines.splitwise import splitwise
from planner.baselines.vllm import vllm
from planner.choosing.candidate import Candidate
from planner.choosing.contest import most_of
from planner.choosing.goodput import Trial
from planner.deployment import Alternative, Plan
from planner.document import plan_id

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
    """Each baseline at its best, one after the other. What several of them find is tried once."""
    trials: dict[Hashable, Trial] = {}
    own = setting.in_fleet()

    def trial_of(one: Candidate) -> Trial:
        if one.makeup not in trials:
            trials[one.makeup] = own.search.trial(one)
        return trials[one.makeup]

    for name, baseline in baselines.items():
        started = time.perf_counter()
        best = most_of(baseline(own), trial_of)
        seconds = time.perf_counter() - started
        yield Compared(name, best.candidate, best.goodput_rps, seconds) if best else Compared(name, None, 0.0, seconds)


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
