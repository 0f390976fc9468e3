"""In which order a pipeline passes through its instances: the cheapest way through all of them.

A bitmask dynamic program (Held and Karp, 1962) over the set S of places that were passed and the last of them:

    dp[S][v] = min_u dp[S - v][u] + hop(u, v)        hop(u, v) = alpha + activation ÷ beta

The stages of one instance are alike and follow each other, as vLLM numbers its ranks machine by machine.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

Way: TypeAlias = tuple[float, tuple[int, ...]]
"""What the hops cost so far, and the places they led through."""


def stage_orders(hop_s: Sequence[Sequence[float]]) -> tuple[tuple[int, ...], ...]:
    """The cheapest order of the places for each place that may be the last, the cheapest of all first.

    `hop_s[u][v]` is a hop from u to v. Of orders that cost the same the first one by the places' numbers is meant.
    """
    ways: dict[tuple[int, int], Way] = {(1 << place, place): (0.0, (place,)) for place in range(len(hop_s))}
    for _ in range(len(hop_s) - 1):
        further: dict[tuple[int, int], Way] = {}
        for (passed, last), (cost, places) in ways.items():
            for place in _left(passed, len(hop_s)):
                way = cost + hop_s[last][place], (*places, place)
                key = passed | 1 << place, place
                further[key] = min(way, further.get(key, way))
        ways = further
    return tuple(places for _, places in sorted(ways.values()))


def _left(passed: int, places: int) -> Iterator[int]:
    return (place for place in range(places) if not passed >> place & 1)
