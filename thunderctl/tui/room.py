"""Who gets how many lines of a screen that has not enough for all. Pure."""

from collections.abc import Mapping, Sequence

LEAST = 2
"""A title, and a line below it."""


def heights(room: int, wanted: Mapping[str, int], turns: Sequence[str]) -> dict[str, int]:
    """Lines for each part, of `room` lines in all, dealt in turn to who still wants one; the last one gets the rest."""
    given = dict.fromkeys(wanted, LEAST)
    left = room - sum(given.values())
    while left > 0 and any(given[name] < wanted[name] for name in wanted):
        for name in turns:
            if left > 0 and given.get(name, 0) < wanted.get(name, 0):
                given[name] += 1
                left -= 1
    given[turns[-1]] += max(left, 0)
    return given
