"""In which order the routes of an epoch are taken: the router's rotation, which the simulator follows as well."""

import math
from collections.abc import Sequence

EPSILON = 1e-9


class Rotation:
    """Draws indices in proportion to their weights, which are above 0, evenly spread.

    After k draws an index of share s has had between k·s − 1 and k·s + 1 of them (earliest deadline first among those
    not ahead of their share, as in WF²Q+). `owed` is where the rotation stands at first: draws that each is behind.
    """

    def __init__(self, weights: Sequence[float], owed: Sequence[float] = ()) -> None:
        self._weights = weights
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
        if chosen < 0:  # only right after other pairs were allowed can it be that none is owed anything
            chosen = max(allowed, key=owed.__getitem__)
        owed[chosen] -= 1.0
        return chosen

    def _allow(self, allowed: Sequence[int]) -> None:
        """Shares are of what is allowed."""
        total = sum([self._weights[index] for index in allowed])
        self._steps = [(index, self._weights[index] / total, self._weights[index]) for index in allowed]
        self._allowed = allowed
