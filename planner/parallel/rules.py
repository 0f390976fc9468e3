"""Which groups may be formed: capacities with every other group left out.

Whatever asks for the best layout of a group, procurement as well as the search, then finds none for those that a rule
leaves out, and each of the others in its best TP x PP.
"""

from dataclasses import dataclass
from typing import Protocol

from planner.catalog import Link
from planner.deployment import Codec, Phase
from planner.links import INSIDE
from planner.parallel.layouts import Best, Between, Capacities, GroupShape, Layout


class Rule(Protocol):
    """Whether such groups are formed for a phase."""

    def __call__(self, shape: GroupShape, phase: Phase) -> bool: ...


@dataclass(frozen=True, slots=True)
class Colocated:
    """Every replica does both phases."""

    def __call__(self, shape: GroupShape, phase: Phase) -> bool:
        return phase is Phase.MIXED


@dataclass(frozen=True, slots=True)
class OneType:
    """Groups whose GPUs are all of one type."""

    def __call__(self, shape: GroupShape, phase: Phase) -> bool:
        return len({share.kind.gpu.name for share in shape}) == 1


class Ruled(Capacities):
    """The capacities of `whole` without any layout for a group that a rule leaves out."""

    def __init__(self, whole: Capacities, rule: Rule) -> None:
        super().__init__(whole.task, whole.codec)
        self.whole, self.rule = whole, rule

    def in_fleet(self, fleet_rps: float) -> Capacities:
        whole = self.whole.in_fleet(fleet_rps)
        return self if whole is self.whole else type(self)(whole, self.rule)

    def best(self, shape: GroupShape, phase: Phase, between: Between = None) -> Best | None:
        return self.whole.best(shape, phase, between) if self.rule(shape, phase) else None

    def rps(self, layout: Layout, phase: Phase) -> float:
        return self.whole.rps(layout, phase)

    def prefill_rps(self, layout: Layout, link: Link = INSIDE, codec: Codec | None = None) -> float:
        return self.whole.prefill_rps(layout, link, codec)


class Flat(Ruled):
    """Every group that the rule allows in tensor parallelism alone, even where a pipeline seems to serve more."""

    def best(self, shape: GroupShape, phase: Phase, between: Between = None) -> Best | None:
        if not self.rule(shape, phase):
            return None
        flat = (layout for layout in self.whole.layouts(shape) if layout.pp == 1)
        rated = ((layout, self.whole.rps(layout, phase)) for layout in flat)
        return next(((layout, rps) for layout, rps in rated if rps > 0), None)
