"""What groups that span instances may change between them: whole cuts, or as many GPUs of every cut.

One step each, where a split and a merge would lead through a state without the larger group.
"""

from collections.abc import Iterator
from itertools import combinations

from planner.search.moves import View
from planner.search.packings import PHASES
from planner.search.state import Cut, Group, Step


def handovers(view: View) -> Iterator[Step]:
    """A cut of one group goes to another that has as many GPUs on each instance."""
    for a, b in _couples(view):
        for gives, takes in ((a, b), (b, a)):
            one, other = view.state.groups[gives], view.state.groups[takes]
            for cut in _unlike(view, one) if len(one.cuts) > 1 else ():
                if larger := _with(view, other, cut):
                    yield Step((gives, takes), (_without(one, cut), larger))


def trades(view: View) -> Iterator[Step]:
    """Two groups exchange a cut each."""
    for a, b in _couples(view):
        one, other = view.state.groups[a], view.state.groups[b]
        if len(one.cuts) == len(other.cuts) == 1:
            continue
        for mine in _unlike(view, one):
            for theirs in _unlike(view, other):
                become = _with(view, _without(one, mine), theirs), _with(view, _without(other, theirs), mine)
                if become[0] and become[1]:
                    yield Step((a, b), (become[0], become[1]))


def shifts(view: View) -> Iterator[Step]:
    """Of two groups on the same instances one gives the other so many GPUs of each."""
    for a, b in _couples(view):
        for gives, takes in ((a, b), (b, a)):
            one, other = view.state.groups[gives], view.state.groups[takes]
            if len(one.cuts) > 1 and one.instances == other.instances:
                for count in range(1, one.cuts[0][1]):
                    yield Step((gives, takes), (_grown(one, -count), _grown(other, count)))


def gatherings(view: View) -> Iterator[Step]:
    """A new group of idle GPUs on two instances."""
    idle = view.occupancy.idle
    for i, j in combinations([i for i in view.instances if idle[i]], 2):
        if view.supply.joined([view.state.rented[i], view.state.rented[j]]):
            for each in range(1, min(idle[i], idle[j]) + 1):
                cuts = tuple(sorted(((i, each), (j, each))))
                yield from (Step((), (Group(cuts, phase),)) for phase in PHASES)


def _couples(view: View) -> Iterator[tuple[int, int]]:
    """Two groups of every two looks."""
    for one, other in combinations(view.groups.values(), 2):
        yield one[0], other[0]


def _unlike(view: View, group: Group) -> list[Cut]:
    """One cut of each content of instances."""
    return list({view.occupancy.contents[cut[0]]: cut for cut in group.cuts}.values())


def _without(group: Group, cut: Cut) -> Group:
    return Group(tuple(own for own in group.cuts if own != cut), group.phase)


def _with(view: View, group: Group, cut: Cut) -> Group | None:
    """None if it is on that instance already, or has other numbers of GPUs on its own, or none of its network."""
    if any(i == cut[0] or gpus != cut[1] for i, gpus in group.cuts):
        return None
    cuts = tuple(sorted((*group.cuts, cut)))
    return Group(cuts, group.phase) if view.supply.joined([view.state.rented[i] for i, _ in cuts]) else None


def _grown(group: Group, gpus: int) -> Group:
    return Group(tuple((i, own + gpus) for i, own in group.cuts), group.phase)
