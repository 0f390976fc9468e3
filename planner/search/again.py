"""The same step once more, on other groups and instances alike: large fleets would take one step for each of them."""

from collections.abc import Iterable, Iterator

from planner.search.moves import View
from planner.search.state import Cut, Group, Step


def again(before: View, step: Step, after: View) -> Step | None:
    """What `step` did to `before`, done to groups of `after` that look the same; None if there are none such,
    or no more copies to rent."""
    places: dict[int, int] = {}
    gone: list[int] = []
    looks = {number: look for look, numbers in before.groups.items() for number in numbers}
    for number in step.gone:
        alike = (one for one in after.groups.get(looks[number], ()) if one not in gone)
        match = next(_matches(before, number, after, alike, places), None)
        if match is None:
            return None
        gone.append(match[0])
        places |= match[1]
    touched = (*(i for group in step.come for i in group.instances), *step.released)
    if not all(_placed(before, i, after, places) for i in touched):
        return None
    come = tuple(Group(tuple(sorted((places[i], gpus) for i, gpus in one.cuts)), one.phase) for one in step.come)
    found = Step(tuple(gone), come, tuple(places[i] for i in step.released), step.rented)
    return found if after.supply.allows(after.state.after(found).rented) else None


def _matches(
    before: View, number: int, after: View, alike: Iterable[int], places: dict[int, int]
) -> Iterator[tuple[int, dict[int, int]]]:
    """Groups that look as group `number` did, on instances that agree with the places taken so far."""
    mine = _ordered(before, before.state.groups[number])
    for other in alike:
        theirs = _ordered(after, after.state.groups[other])
        new = {i: j for (i, _), (j, _) in zip(mine, theirs, strict=True)}
        if all(places.get(i, j) == j and (i in places or j not in places.values()) for i, j in new.items()):
            yield other, new


def _ordered(view: View, group: Group) -> list[Cut]:
    return sorted(group.cuts, key=lambda cut: (view.occupancy.contents[cut[0]], cut[1]))


def _placed(before: View, instance: int, after: View, places: dict[int, int]) -> bool:
    """Finds a place for an instance none of whose groups goes: a new one, or one with the same content."""
    if instance in places:
        return True
    if instance >= len(before.state.rented):
        places[instance] = instance - len(before.state.rented) + len(after.state.rented)
        return True
    content, taken = before.occupancy.contents[instance], set(places.values())
    same = (i for i, own in enumerate(after.occupancy.contents) if own == content and i not in taken)
    place = next(same, None)
    if place is not None:
        places[instance] = place
    return place is not None
