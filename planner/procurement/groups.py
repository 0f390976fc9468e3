"""The groups worth forming on each offer: how many GPUs, in which layout, for which phase."""

from collections.abc import Sequence
from dataclasses import dataclass

from planner.catalog import Offer
from planner.deployment import Phase
from planner.parallel.layouts import Capacities, GpuKind, Layout, Share

SIZES = (1, 2, 3, 4, 6, 8)
"""GPUs of a group; larger ones gain little inside one instance."""


@dataclass(frozen=True, slots=True)
class Group:
    """GPUs of one offer (its place in the list) in one layout, and what they serve in one phase."""

    offer: int
    layout: Layout
    rps: float


@dataclass(frozen=True, slots=True)
class Options:
    """The groups worth forming for each phase, over all offers."""

    prefill: tuple[Group, ...]
    decode: tuple[Group, ...]
    mixed: tuple[Group, ...]


def kind_of(offer: Offer) -> GpuKind:
    return GpuKind(offer.gpu, offer.memory_gib, offer.nvlink)


def options(capacities: Capacities, offers: Sequence[Offer]) -> Options:
    """For every offer, phase and size the best layout."""
    return Options(
        prefill=_best(capacities, offers, Phase.PREFILL),
        decode=_best(capacities, offers, Phase.DECODE),
        mixed=_best(capacities, offers, Phase.MIXED),
    )


def _best(capacities: Capacities, offers: Sequence[Offer], phase: Phase) -> tuple[Group, ...]:
    """Leaves out groups that several of one smaller kind do as well."""
    found: list[Group] = []
    for i, offer in enumerate(offers):
        kind = kind_of(offer)
        kept: list[Group] = []
        for size in SIZES:
            if size > offer.gpu_count:
                break
            best = capacities.best((Share(kind, size),), phase)
            group = Group(i, *best) if best else None
            if group and not _made_of_smaller(group, kept):
                kept.append(group)
        found += kept
    return tuple(found)


def _made_of_smaller(group: Group, kept: Sequence[Group]) -> bool:
    return any(group.layout.gpus // small.layout.gpus * small.rps >= group.rps for small in kept)
