"""What part of a fleet serves, in phases of its choice: asked for many parts in a row, so in microseconds each.

Replicas that prefill, decode, or do both serve min(sum of prefill, sum of decode) + sum of mixed. Of a few replicas all
designations are tried. Of more, each may divide its time between phases, which is a linear program with two shared
rows; its dual has one unknown, the price p of a prefilled prompt (1 - p is that of a decoded one), and so the answer is
the least, over p, of sum over replicas of max(p prefill, (1 - p) decode, mixed). Links are not counted: a fleet's own
figure, which simulation confirmed, scales the answer.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt

from planner.demand import Floats, Ints
from planner.deployment import Codec, Plan
from planner.links import Links
from planner.members import members_of
from planner.parallel.layouts import Capacities
from planner.plan import task_of
from planner.rebalancing.phase_program import PHASES
from planner.workload import Workload

MOST_TRIED = 5
"""Replicas of which all designations are tried: 243."""
MOST_KNOWN = 512
"""Answers that are kept: all that are asked about a small fleet, and no hundreds of megabytes of a large one."""


Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ability:
    """A replica: the instances it needs, and what it serves in each of PHASES, requests/s."""

    replica: str
    instances: frozenset[str]
    rps: tuple[float, float, float]


def abilities_of(
    plan: Plan, workload: Workload, *, codec: Codec | None = None, links: Links | None = None
) -> tuple[Ability, ...]:
    """The plan's replicas, by the cost model. Raises SpecError where the model can't be run with the workload."""
    of = Capacities(task_of(plan.llm, workload, plan.slo, plan.max_model_len), codec)
    found = []
    for member in members_of(plan, links or {}):
        prefill, decode, mixed = (of.rps(member.layout, phase) for phase in PHASES)
        found.append(Ability(member.replica.id, frozenset(member.replica.instances), (prefill, decode, mixed)))
    return tuple(found)


class PartRates:
    """Answers for one fleet. All of it together serves `whole_rps`, where that is known."""

    def __init__(self, abilities: Sequence[Ability], whole_rps: float | None = None) -> None:
        self._abilities = tuple(abilities)
        self._rps = np.array([one.rps for one in self._abilities]).reshape(-1, len(PHASES))
        self._worth = _worth(self._rps)
        alone = self._served(np.ones(len(self._abilities), dtype=bool))
        self._scale = whole_rps / alone if whole_rps and alone > 0 else 1.0
        self._known: dict[frozenset[str], float] = {}

    def __call__(self, instances: frozenset[str]) -> float:
        """Requests/s within the targets when these instances are there and no others."""
        if instances not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[instances] = self._scale * self._served(self._there(instances))
        return self._known[instances]

    def replicas_on(self, instances: Collection[str]) -> tuple[str, ...]:
        """Those that can run when these instances are there."""
        there = frozenset(instances)
        return tuple(one.replica for one in self._abilities if one.instances <= there)

    def _there(self, instances: frozenset[str]) -> Bools:
        return np.array([one.instances <= instances for one in self._abilities], dtype=bool)

    def _served(self, there: Bools) -> float:
        count = int(there.sum())
        if count == 0:
            return 0.0
        if count > MOST_TRIED:
            return float((self._worth @ there).min())
        taken = np.eye(len(PHASES))[_designations(count)]
        prefill, decode, mixed = np.moveaxis((taken * self._rps[there]).sum(axis=1), -1, 0)
        return float((np.minimum(prefill, decode) + mixed).max())


def _worth(rps: Floats) -> Floats:
    """What each replica (columns) is worth at each price at which some replica changes its phase (rows)."""
    prefill, decode, mixed = rps.T
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.concatenate([[0.0, 1.0], decode / (prefill + decode), mixed / prefill, 1 - mixed / decode])
    price = np.unique(np.round(at[np.isfinite(at) & (at >= 0) & (at <= 1)], 12))[:, None]
    return np.asarray(np.maximum(np.maximum(price * prefill, (1 - price) * decode), mixed))


@cache
def _designations(count: int) -> Ints:
    """Every way to give `count` replicas phases, as indices into PHASES."""
    return np.array(list(product(range(len(PHASES)), repeat=count)), dtype=np.int64)
