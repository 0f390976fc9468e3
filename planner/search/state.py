"""Where a search stands: the instances rented, and how their GPUs form groups, each for a phase."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from planner.deployment import Phase
from planner.search.supply import Supply

Cut: TypeAlias = tuple[int, int]
"""(instance, how many of its GPUs)."""
Content: TypeAlias = tuple[Any, ...]
"""What is on an instance, but for the instance's name: its offer, and the groups that it takes part in."""
Key: TypeAlias = tuple[Content, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """GPUs that hold one replica. More than one cut: it spans instances, each with as many of its GPUs."""

    cuts: tuple[Cut, ...]
    phase: Phase

    @property
    def gpus(self) -> int:
        return sum(gpus for _, gpus in self.cuts)

    @property
    def instances(self) -> tuple[int, ...]:
        return tuple(instance for instance, _ in self.cuts)

    def flipped(self, phase: Phase) -> "Group":
        return Group(self.cuts, phase)

    def moved(self, places: Mapping[int, int]) -> "Group":
        return Group(tuple((places[instance], gpus) for instance, gpus in self.cuts), self.phase)


def inside(instance: int, gpus: int, phase: Phase) -> Group:
    """A group on one instance."""
    return Group(((instance, gpus),), phase)


@dataclass(frozen=True, slots=True)
class State:
    """`rented[i]` is the offer of instance i. GPUs of an instance are alike, so groups say only how many they take."""

    rented: tuple[int, ...]
    groups: tuple[Group, ...]

    def after(self, step: "Step") -> "State":
        """Numbers of instances close up over those released."""
        released, gone = set(step.released), set(step.gone)
        kept = [group for i, group in enumerate(self.groups) if i not in gone]
        rented = (*self.rented, *step.rented)
        if not released:
            return State(rented, (*kept, *step.come))
        left = [i for i in range(len(rented)) if i not in released]
        places = {old: new for new, old in enumerate(left)}
        groups = (group.moved(places) for group in (*kept, *step.come))
        return State(tuple(rented[i] for i in left), tuple(groups))


@dataclass(frozen=True, slots=True)
class Step:
    """What a move changes: groups that go (by their place) and that come, instances released, and offers rented.

    Groups that come are on instances numbered as before the step; new ones follow. Whatever was on a released instance
    must be among those that go.
    """

    gone: tuple[int, ...] = ()
    come: tuple[Group, ...] = ()
    released: tuple[int, ...] = ()
    rented: tuple[int, ...] = ()


def in_shape(supply: Supply, rented: tuple[int, ...], group: Group) -> tuple[int, ...]:
    """The instances of a group in the order of its shape: alike ones beside each other, so that it is rated once."""
    return tuple(sorted(group.instances, key=lambda i: supply.alike[rented[i]]))


class Occupancy:
    """Which groups are on each instance of a state, its idle GPUs, and what tells it from others."""

    def __init__(self, supply: Supply, state: State) -> None:
        offers = [supply.alike[offer] for offer in state.rented]
        self.groups: list[list[int]] = [[] for _ in offers]
        self.idle = [supply.gpus[offer] for offer in state.rented]
        contents: list[list[Content]] = [[] for _ in offers]
        for number, group in enumerate(state.groups):
            span = in_shape(supply, state.rented, group) if len(group.cuts) > 1 else ()
            shape = tuple(offers[i] for i in span)
            for i, gpus in group.cuts:
                self.groups[i].append(number)
                self.idle[i] -= gpus
                contents[i].append((gpus, group.phase, shape, span.index(i) if span else 0))
        self.contents: list[Content] = [(offer, *sorted(own)) for offer, own in zip(offers, contents, strict=True)]

    @property
    def key(self) -> Key:
        """The canonical form: GPUs of an instance and instances alike are interchangeable."""
        return tuple(sorted(self.contents))


def canonical(supply: Supply, state: State) -> Key:
    """Equal for states that differ in names only. Of a span an instance knows the shape and its own place in it, which
    is all that scores see."""
    return Occupancy(supply, state).key
