"""What a bound's program would rent and form, laid out on instances: where a search may begin."""

from collections.abc import Iterator, Sequence

import numpy as np

from planner.catalog import Offer
from planner.deployment import Phase
from planner.procurement.purchase import Formation, Groups
from planner.proof.pools import Shape
from planner.proof.spanning import Spanning
from planner.search.state import Group, State

FACTORS = (1, 2, 4, 8)
"""Groups may be laid out on so many times fewer instances, with as many times more GPUs of each, or the reverse."""


def begun(found: Formation, offers: Sequence[Offer], inside: Sequence[Groups], spanning: Spanning) -> State:
    """The groups that span instances first, those with most GPUs of one before others. What fits nowhere is left out.

    The program counts GPUs of like instances together, so that a group may have to be laid out otherwise than it says.
    """
    rented = tuple(i for i, copies in enumerate(found.copies.tolist()) for _ in range(copies))
    floor = _Floor(rented, [offers[offer].gpu_count for offer in rented])
    rows = [
        spanning.group(int(row)) for row in np.flatnonzero(found.spanning) for _ in range(round(found.spanning[row]))
    ]
    for shape, gpus, phase in sorted(rows, key=lambda row: (-row[1], -sum(n for _, n in row[0]))):
        any(floor.takes(_places(spanning, own), each, phase) for own, each in _ways(shape, gpus))
    counts = (found.prefill, found.decode, found.mixed)
    for phase, kinds, count in zip(Phase, inside, counts, strict=True):
        for row in sorted(np.flatnonzero(count), key=lambda row: -int(kinds.gpus[row])):
            for _ in range(count[row]):
                floor.takes([(int(kinds.offer[row]),)], int(kinds.gpus[row]), phase)
    return State(rented, tuple(floor.groups))


class _Floor:
    """Instances with their idle GPUs, and the groups on them so far."""

    def __init__(self, rented: Sequence[int], idle: list[int]) -> None:
        self.rented, self.idle = rented, idle
        self.groups: list[Group] = []

    def takes(self, places: Sequence[tuple[int, ...]], gpus: int, phase: Phase) -> bool:
        """A group on a different instance of each of these sets of offers, the fullest that has room; if all have."""
        taken: list[int] = []
        for offers in places:
            room = [
                i for i, offer in enumerate(self.rented) if offer in offers and self.idle[i] >= gpus and i not in taken
            ]
            if not room:
                return False
            taken.append(min(room, key=self.idle.__getitem__))
        for i in taken:
            self.idle[i] -= gpus
        self.groups.append(Group(tuple((i, gpus) for i in sorted(taken)), phase))
        return True


def _ways(shape: Shape, gpus: int) -> Iterator[tuple[Shape, int]]:
    """The shape, and others of as many GPUs of each pool."""
    yield shape, gpus
    for factor in FACTORS[1:]:
        if all(count % factor == 0 for _, count in shape):
            yield tuple((pool, count // factor) for pool, count in shape), gpus * factor
        if gpus % factor == 0:
            yield tuple((pool, count * factor) for pool, count in shape), gpus // factor


def _places(spanning: Spanning, shape: Shape) -> list[tuple[int, ...]]:
    return [tuple(np.flatnonzero(spanning.numbers == pool).tolist()) for pool, count in shape for _ in range(count)]
