"""In which order the routes of an epoch are taken: the router's rotation, which the simulator follows as well."""

import math
from collections.abc import Callable, Sequence

EPSILON = 1e-9
AHEAD = 8.0
"""Draws that an index may be ahead of its share for the sake of its cost. In simulated fleets at 80 % of their capacity
more are hardly better, and fewer leave gain in the tail of TTFT (`benchmarks/results/router_policy.md`). Seconds later
a route that is 8 requests ahead would have been dealt them anyway."""


class Rotation:
    """Draws indices in proportion to their weights, which are above 0, evenly spread.

    After k draws an index of share s has had between k·s − 1 and k·s + 1 of them (earliest deadline first among those
    not ahead of their share, as in WF²Q+). `owed` is where the rotation stands at first: draws that each is behind.
    Where costs decide among them (`cheapest`), it has had k·s + `ahead` at most, which is 1 or more.
    """

    def __init__(self, weights: Sequence[float], owed: Sequence[float] = (), *, ahead: float = AHEAD) -> None:
        self._weights = weights
        self._ahead = ahead
        self._owed = list(owed) or [0.0] * len(weights)
        self._allowed: Sequence[int] | None = None
        self._steps: list[tuple[int, float, float]] = []

    def pick(self, allowed: Sequence[int]) -> int:
        """The next of `allowed`. What is worked out for a sequence is kept while the same one is passed, unchanged."""
        if allowed is not self._allowed:
            self._allow(allowed)
        owed, chosen, earliest = self._owed, -1, math.inf
        for index, step, weight in self._steps:
            owed[index] = behind = owed[index] + step
            if behind > EPSILON:
                deadline = (1.0 - behind) / weight
                if deadline < earliest:
                    chosen, earliest = index, deadline
        return self._drawn(chosen, allowed)

    def cheapest(self, allowed: Sequence[int], cost: Callable[[int], float]) -> int:
        """The one of `allowed` with the least cost, of those that it does not take too far ahead of their share.

        What costs the same is taken in the order of the rotation.
        """
        if allowed is not self._allowed:
            self._allow(allowed)
        owed, chosen, least = self._owed, -1, (math.inf, True, math.inf)
        for index, step, weight in self._steps:
            owed[index] = behind = owed[index] + step
            if behind >= 1.0 - self._ahead:
                rank = (cost(index), behind <= EPSILON, (1.0 - behind) / weight)
                if rank < least:
                    chosen, least = index, rank
        return self._drawn(chosen, allowed)

    def _drawn(self, chosen: int, allowed: Sequence[int]) -> int:
        if chosen < 0:  # only right after other pairs were allowed can it be that none is owed anything
            chosen = max(allowed, key=self._owed.__getitem__)
        self._owed[chosen] -= 1.0
        return chosen

    def _allow(self, allowed: Sequence[int]) -> None:
        """Shares are of what is allowed."""
        total = sum([self._weights[index] for index in allowed])
        self._steps = [(index, self._weights[index] / total, self._weights[index]) for index in allowed]
        self._allowed = allowed
