"""The words of the lower level: what a group has, and how a model lies on it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

from planner.catalog import GpuType, Link
from planner.costmodel.coefficients import fitted
from planner.costmodel.collectives import Interconnect, across, inside, vm_network
from planner.costmodel.pace import Pace, PipelineCost, pipeline_cost
from planner.llm import LlmSpec
from planner.memory import StageMemory, kv_capacity_tokens

MOST_LAYOUTS = 1 << 15
"""That are kept, those last asked for: a controller asks for weeks, over links that are measured anew each time. A
search meets far fewer."""


@dataclass(frozen=True, slots=True)
class GpuKind:
    """What tells the GPUs of one offer from another's, for a replica: type, usable memory, and NVLink or not."""

    gpu: GpuType
    memory_gib: float
    nvlink: bool


@dataclass(frozen=True, slots=True)
class Share:
    """What a group takes of one instance."""

    kind: GpuKind
    gpus: int


GroupShape: TypeAlias = tuple[Share, ...]
"""One share for each instance; where there are several, all have as many GPUs and are of one private network."""

Between: TypeAlias = Link | tuple[tuple[Link, ...], ...] | None
"""The network between a group's instances: one link for all, or one from each (row) to each (column).

None stands for virtual machines of a cloud.
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """One pipeline stage of a layout: GPUs of `kind`, on the group's instance number `place`."""

    kind: GpuKind
    place: int
    layers: int


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """How a model lies on a group, stage by stage in the order of the pipeline: its pace, and tokens of KV it can hold.

    Equal ones that `layout_of` makes are one object, so that a rate is looked up without comparing all that is in them.
    """

    tp: int
    slots: tuple[Slot, ...]
    pace: Pace
    kv_tokens: int

    @property
    def pp(self) -> int:
        return len(self.slots)

    @property
    def gpus(self) -> int:
        return self.tp * self.pp

    @property
    def kinds(self) -> tuple[GpuKind, ...]:
        """The kinds of its GPUs, in the order of its stages, each once."""
        return tuple(dict.fromkeys(slot.kind for slot in self.slots))


@lru_cache(maxsize=MOST_LAYOUTS)
def layout_of(llm: LlmSpec, tp: int, slots: tuple[Slot, ...], between: Between = None) -> Layout:
    """These stages of `tp` GPUs each, worked out."""
    layers = [slot.layers for slot in slots]
    room = kv_capacity_tokens(llm, tp, [StageMemory(slot.layers, slot.kind.memory_gib) for slot in slots])
    return Layout(tp, slots, cost_of(llm, tp, slots, between).pace(layers), room)


def cost_of(llm: LlmSpec, tp: int, slots: tuple[Slot, ...], between: Between) -> PipelineCost:
    """What the stages cost, whatever layers they hold."""
    gpus = [(slot.kind.gpu, slot.kind.nvlink) for slot in slots]
    return pipeline_cost(llm, tp, gpus, list(_hops(tp, slots, between)))


def hop_across(between: Between, source: int, target: int) -> Interconnect:
    """From one of a group's instances to another."""
    if between is None:
        return vm_network(fitted().constants)
    link = between if isinstance(between, Link) else between[source][target]
    return across(link.latency_ms / 1e3, link.bandwidth_gbit_per_s)


def hop_inside(kind: GpuKind, gpus: int) -> Interconnect:
    """Between the `gpus` GPUs that a group has on one instance."""
    return inside(kind.gpu, gpus, fitted().constants, nvlink=kind.nvlink)


def _hops(tp: int, slots: tuple[Slot, ...], between: Between) -> Iterator[Interconnect]:
    """What joins each stage to the next."""
    held = Counter(slot.place for slot in slots)
    for one, following in pairwise(slots):
        if one.place == following.place:
            yield hop_inside(one.kind, tp * held[one.place])
        else:
            yield hop_across(between, one.place, following.place)
