"""Large fleets have many instances alike: a part of the fleet is searched, and repeated as often as there is of it.

What serves the most in a part serves nearly as much in the whole, where only groups across parts could add to it.
"""

from collections import Counter

from planner.search.packings import Packings
from planner.search.start import mixed
from planner.search.state import State

PART_GPUS = range(24, 49)
"""How large parts are."""


def part_of(packings: Packings, rented: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """What is in each part, and how many there are: such that the fewest GPUs are left over."""
    gpus = packings.ratings.supply.gpus
    total = sum(gpus[offer] for offer in rented)
    counts = Counter(rented)

    def left(parts: int) -> int:
        return sum(gpus[offer] * (count % parts) for offer, count in counts.items())

    most, fewest = total // PART_GPUS.start, -(-total // PART_GPUS.stop)
    parts = min(range(max(fewest, 1), max(most, 1) + 1), key=left)
    return tuple(offer for offer, count in counts.items() for _ in range(count // parts)), parts


def whole(packings: Packings, rented: tuple[int, ...], part: State, parts: int) -> State:
    """So many parts in this state; what is left over is mixed."""
    left = Counter(rented) - Counter(part.rented * parts)
    others = mixed(packings, tuple(left.elements()))
    every, groups = list[int](), list(part.groups[:0])
    for state in (*[part] * parts, others):
        places = {i: len(every) + i for i in range(len(state.rented))}
        groups += [group.moved(places) for group in state.groups]
        every += state.rented
    return State(tuple(every), tuple(groups))
