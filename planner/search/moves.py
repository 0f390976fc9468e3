"""What a search may change in one step: phases, groups, and what is rented.

Each kind of move yields the steps it can make from a state. Of groups and instances that are
alike one stands for all. Whether a group can be, and what it costs, is not looked at here: scores see to that.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Any, TypeAlias

from planner.deployment import Phase
from planner.search.packings import PHASES, Packing
from planner.search.state import Content, Group, Occupancy, State, Step, inside
from planner.search.supply import Supply

Look: TypeAlias = tuple[Any, ...]


class View:
    """A state as moves see it: its groups and instances, of which each look stands for all that share it."""

    def __init__(self, supply: Supply, state: State) -> None:
        self.supply, self.state = supply, state
        self.occupancy = Occupancy(supply, state)

    @cached_property
    def groups(self) -> dict[Look, list[int]]:
        """The groups of each look: what is on their instances, their cuts, and their phase."""
        looks: dict[Look, list[int]] = {}
        contents = self.occupancy.contents
        for number, group in enumerate(self.state.groups):
            cuts = [(contents[i], gpus) for i, gpus in group.cuts]
            look = (tuple(sorted(cuts) if len(cuts) > 1 else cuts), group.phase)
            looks.setdefault(look, []).append(number)
        return looks

    @cached_property
    def instances(self) -> list[int]:
        """One instance of each content."""
        first: dict[Content, int] = {}
        for i, content in enumerate(self.occupancy.contents):
            first.setdefault(content, i)
        return list(first.values())

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """For every two looks two groups that have no instance in common, if there are."""
        found = (self._apart(a, b) for a, b in combinations_with_replacement(self.groups.values(), 2))
        return [pair for pair in found if pair]

    def on(self, instance: int) -> list[int]:
        """The groups that are on this instance alone, one of each size and phase twice at most."""
        own = (n for n in self.occupancy.groups[instance] if len(self.state.groups[n].cuts) == 1)
        looks: dict[Group, list[int]] = {}
        for number in own:
            looks.setdefault(self.state.groups[number], []).append(number)
        return [number for alike in looks.values() for number in alike[:2]]

    def _apart(self, some: Sequence[int], others: Sequence[int]) -> tuple[int, int] | None:
        """From two lists of groups alike: on one instance or not depends little on which are tried."""
        for a in some[:3]:
            taken = set(self.state.groups[a].instances)
            for b in others:
                if b != a and taken.isdisjoint(self.state.groups[b].instances):
                    return a, b
        return None


def flips(view: View) -> Iterator[Step]:
    """Another phase for one group."""
    for number, *_ in view.groups.values():
        group = view.state.groups[number]
        for phase in PHASES:
            if phase is not group.phase:
                yield Step((number,), (group.flipped(phase),))


def swaps(view: View) -> Iterator[Step]:
    """The phases of two groups exchanged."""
    firsts = [numbers[0] for numbers in view.groups.values()]
    for i, a in enumerate(firsts):
        for b in firsts[i + 1 :]:
            one, other = view.state.groups[a], view.state.groups[b]
            if one.phase is not other.phase:
                yield Step((a, b), (one.flipped(other.phase), other.flipped(one.phase)))


def splits(view: View) -> Iterator[Step]:
    """One group in two, of which one may take another phase, or be left idle."""
    for number, *_ in view.groups.values():
        group = view.state.groups[number]
        for parts in _parts(group):
            for phases in _one_differs(group.phase):
                come = (Group(cuts, phase) for cuts, phase in zip(parts, phases, strict=True))
                yield Step((number,), tuple(come))
            for cuts in parts:
                yield Step((number,), (Group(cuts, group.phase),))


def merges(view: View) -> Iterator[Step]:
    """Two groups in one: on one instance, or on several of one network with as many GPUs on each."""
    for instance in view.instances:
        own = view.on(instance)
        for i, a in enumerate(own):
            for b in own[i + 1 :]:
                gpus = view.state.groups[a].gpus + view.state.groups[b].gpus
                yield from _joined(view, (a, b), ((instance, gpus),))
    for a, b in view.pairs:
        cuts = (*view.state.groups[a].cuts, *view.state.groups[b].cuts)
        offers = [view.state.rented[i] for i, _ in cuts]
        if len({gpus for _, gpus in cuts}) == 1 and view.supply.joined(offers):
            yield from _joined(view, (a, b), tuple(sorted(cuts)))


def moves(view: View) -> Iterator[Step]:
    """GPUs from one group of an instance to another, or from those that are idle to a group, or to a new one."""
    for instance in view.instances:
        own, idle = view.on(instance), view.occupancy.idle[instance]
        for a in own:
            has = view.state.groups[a].gpus
            for b in own:
                if a != b:
                    yield from (_shifted(view, instance, a, b, count) for count in range(1, has))
            yield from (_grown(view, instance, a, count) for count in range(1, idle + 1))
        for count in range(1, idle + 1):
            yield from (Step((), (inside(instance, count, phase),)) for phase in PHASES)
    yield from _reaching_out(view)


def repacks(view: View, packings: Callable[[int], Sequence[Packing]]) -> Iterator[Step]:
    """All groups of an instance anew."""
    for instance in view.instances:
        numbers = view.occupancy.groups[instance]
        if all(len(view.state.groups[number].cuts) == 1 for number in numbers):
            for packing in packings(view.state.rented[instance]):
                come = tuple(inside(instance, gpus, phase) for gpus, phase in packing)
                yield Step(tuple(numbers), come)


def rents(view: View, offers: Sequence[int], packings: Callable[[int], Sequence[Packing]]) -> Iterator[Step]:
    """One instance more."""
    for offer in offers:
        if view.supply.allows((*view.state.rented, offer)):
            for packing in packings(offer):
                yield _exchange(view, (), (offer,), packing)


def releases(view: View) -> Iterator[Step]:
    """One instance less."""
    for instance in view.instances:
        yield _exchange(view, (instance,), (), ())


def exchanges(
    view: View, offers: Sequence[int], packings: Callable[[int], Sequence[Packing]], spare_usd_per_hour: float
) -> Iterator[Step]:
    """One instance given up for one of another offer, or for as many as its price and the spare money buy."""
    supply, rented = view.supply, view.state.rented
    for instance in view.instances:
        left = rented[:instance] + rented[instance + 1 :]
        money = spare_usd_per_hour + supply.usd_per_hour[rented[instance]]
        for offer in offers:
            price = supply.usd_per_hour[offer]
            if price > money or supply.alike[offer] == supply.alike[rented[instance]]:
                continue
            many = min(int(money / price) if price > 0 else 1, supply.offers[offer].available)
            for copies in {1, many}:
                if supply.allows((*left, *[offer] * copies)):
                    for packing in packings(offer):
                        yield _exchange(view, (instance,), (offer,) * copies, packing)


def _parts(group: Group) -> Iterator[tuple[tuple[tuple[int, int], ...], ...]]:
    """The cuts of both parts: GPUs of an instance divided, or instances, or the GPUs of each instance halved."""
    if len(group.cuts) == 1:
        ((instance, gpus),) = group.cuts
        for few in range(1, gpus // 2 + 1):
            yield ((instance, few),), ((instance, gpus - few),)
        return
    for i, cut in enumerate(group.cuts):
        yield (cut,), group.cuts[:i] + group.cuts[i + 1 :]
    each = group.cuts[0][1]
    for few in range(1, each // 2 + 1):
        yield tuple((i, few) for i, _ in group.cuts), tuple((i, each - few) for i, _ in group.cuts)


def _one_differs(phase: Phase) -> Iterator[tuple[Phase, Phase]]:
    yield phase, phase
    for other in PHASES:
        if other is not phase:
            yield phase, other
            yield other, phase


def _joined(view: View, numbers: tuple[int, int], cuts: tuple[tuple[int, int], ...]) -> Iterator[Step]:
    phases = {view.state.groups[number].phase for number in numbers}
    for phase in PHASES if len(phases) > 1 else (*phases,):
        yield Step(numbers, (Group(cuts, phase),))


def _shifted(view: View, instance: int, a: int, b: int, count: int) -> Step:
    gives, takes = view.state.groups[a], view.state.groups[b]
    come = inside(instance, gives.gpus - count, gives.phase), inside(instance, takes.gpus + count, takes.phase)
    return Step((a, b), come)


def _grown(view: View, instance: int, number: int, count: int) -> Step:
    group = view.state.groups[number]
    return Step((number,), (inside(instance, group.gpus + count, group.phase),))


def _reaching_out(view: View) -> Iterator[Step]:
    """Groups take idle GPUs of another instance of their network."""
    idle = [i for i in view.instances if view.occupancy.idle[i]]
    for number, *_ in view.groups.values() if idle else ():
        group = view.state.groups[number]
        each = group.cuts[0][1]
        for i in idle:
            offers = [view.state.rented[j] for j in (*group.instances, i)]
            if i not in group.instances and view.occupancy.idle[i] >= each and view.supply.joined(offers):
                yield Step((number,), (Group(tuple(sorted((*group.cuts, (i, each)))), group.phase),))


def _exchange(view: View, released: tuple[int, ...], offers: tuple[int, ...], packing: Packing) -> Step:
    gone = {number for instance in released for number in view.occupancy.groups[instance]}
    new = range(len(view.state.rented), len(view.state.rented) + len(offers))
    come = (inside(instance, gpus, phase) for instance in new for gpus, phase in packing)
    return Step(tuple(sorted(gone)), tuple(come), released, offers)
