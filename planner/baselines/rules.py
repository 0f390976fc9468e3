"""Which groups a system forms: the planner's own capacities with every other group left out.

A system is held to its rules in this one place. Whatever asks for the best layout of a group, procurement as well as
the search, then finds none for those that the system would not form, and each of the others in its best TP x PP.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from planner.catalog import Link
from planner.deployment import Codec, Phase
from planner.links import INSIDE
from planner.parallel.layouts import Best, Between, Capacities, GroupShape, Layout


class Rule(Protocol):
    """Whether a system forms such groups for a phase."""

    def __call__(self, shape: GroupShape, phase: Phase) -> bool: ...


@dataclass(frozen=True, slots=True)
class Colocated:
    """Every replica does both phases."""

    def __call__(self, shape: GroupShape, phase: Phase) -> bool:
        return phase is Phase.MIXED


@dataclass(frozen=True, slots=True)
class Inside:
    """No group spans instances."""

    def __call__(self, shape: GroupShape, phase: Phase) -> bool:
        return len(shape) == 1


@dataclass(frozen=True, slots=True)
class Sized:
    """Groups inside an instance whose number of GPUs is fixed by GPU type and phase."""

    gpus: Mapping[tuple[str, Phase], int]

    def __call__(self, shape: GroupShape, phase: Phase) -> bool:
        return len(shape) == 1 and self.gpus.get((shape[0].kind.gpu.name, phase)) == shape[0].gpus


@dataclass(frozen=True, slots=True)
class Roles:
    """Groups inside an instance; the GPU type decides on the phase, and types without one form none."""

    phases: Mapping[str, Phase]

    def __call__(self, shape: GroupShape, phase: Phase) -> bool:
        return len(shape) == 1 and self.phases.get(shape[0].kind.gpu.name) is phase


class Ruled(Capacities):
    """The capacities of `whole` without any layout for a group that a rule leaves out."""

    def __init__(self, whole: Capacities, rule: Rule) -> None:
        super().__init__(whole.task, whole.codec)
        self.whole, self.rule = whole, rule

    def in_fleet(self, fleet_rps: float) -> Capacities:
        whole = self.whole.in_fleet(fleet_rps)
        return self if whole is self.whole else Ruled(whole, self.rule)

    def best(self, shape: GroupShape, phase: Phase, between: Between = None) -> Best | None:
        return self.whole.best(shape, phase, between) if self.rule(shape, phase) else None

    def rps(self, layout: Layout, phase: Phase) -> float:
        return self.whole.rps(layout, phase)

    def prefill_rps(self, layout: Layout, link: Link = INSIDE, codec: Codec | None = None) -> float:
        return self.whole.prefill_rps(layout, link, codec)
