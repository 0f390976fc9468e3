"""Which groups a system forms: in this one place it is held to its rules."""

from collections.abc import Mapping
from dataclasses import dataclass

from planner.deployment import Phase
from planner.parallel.layouts import GroupShape


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
class PhaseByType:
    """Groups inside an instance; the GPU type decides on the phase, and types without one form none."""

    phases: Mapping[str, Phase]

    def __call__(self, shape: GroupShape, phase: Phase) -> bool:
        return len(shape) == 1 and self.phases.get(shape[0].kind.gpu.name) is phase
