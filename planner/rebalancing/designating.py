"""Which designation of running replicas serves the most: exact where all can be listed, else tabu search.

Exact is Benders' decomposition: the bounds of all designations are listed, the highest is solved, and what its prices
say lowers the bounds of all others, until none is above the best found. Among designations that serve as good as the
same, the one with the fewest flips is taken and, of those, the one whose flipped replicas carry the least traffic now.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.demand import Floats, Ints
from planner.rebalancing.alike import Designations
from planner.rebalancing.phase_program import Cut, PhaseProgram

MOST_LISTED = 3**12
"""Designations up to symmetry that are listed: those of 12 replicas all unlike, 4 MB a bound."""
SAME = 1e-3
"""Relative difference of two scores that does not matter."""
PROVEN = 1e-6
"""Relative distance of bound and score at which no better one is looked for."""
TENURE, STALLED = 5, 12
"""Tabu: moves for which a flipped replica keeps its phase, and moves without a better designation until it ends."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The designation chosen, by replica; what it and the best of all serve, and what none exceeds, in requests/s.

    `solved` counts the designations whose flow was worked out.
    """

    phases: Ints
    served_rps: float
    best_rps: float
    bound_rps: float
    solved: int


class Served:
    """What designations serve, each solved once. The first of `ways` to pack KV is the usual one; the second packs all
    that can be packed and is used where wires are full, as in pairing."""

    def __init__(self, ways: Sequence[PhaseProgram]) -> None:
        self._ways = ways
        self._known: dict[bytes, tuple[float, tuple[Cut, ...]]] = {}

    def at(self, phases: Ints) -> tuple[float, tuple[Cut, ...]]:
        """Requests/s, and a cut for each way."""
        key = phases.tobytes()
        if key not in self._known:
            cuts = tuple(way.at(phases) for way in self._ways)
            best = max(cut.served_rps for cut in cuts)
            self._known[key] = best if cuts[0].wires_full else cuts[0].served_rps, cuts
        return self._known[key]

    def relaxed(self) -> tuple[Cut, ...]:
        return tuple(way.relaxed() for way in self._ways)

    @property
    def solved(self) -> int:
        return len(self._known)


def decided(served: Served, designations: Designations) -> Decision:
    """The best designation up to SAME, exact where no more than MOST_LISTED are to be told apart."""
    return listed(served, designations) if designations.count <= MOST_LISTED else searched(served, designations)


def listed(served: Served, designations: Designations) -> Decision:
    """The best of all, proven, then the one nearest to what is in force among those as good."""
    left = _Left(designations, served.relaxed())

    def solve(at: int) -> float:
        found, cuts = served.at(designations.phases(int(left.numbers[at])))
        left.learn(at, found, cuts)
        return found

    best_rps = solve(left.nearest())
    while left.upper_rps[at := left.highest()] > best_rps * (1 + PROVEN) and not left.solved[at]:
        best_rps = max(best_rps, solve(at))
        left.drop_below(best_rps * (1 - SAME))
    left.drop_below(best_rps * (1 - SAME))
    while not left.solved[at := left.nearest()]:
        solve(at)
        left.drop_below(best_rps * (1 - SAME))
    chosen = designations.phases(int(left.numbers[at]))
    return Decision(chosen, float(left.upper_rps[at]), best_rps, best_rps, served.solved)


class _Left:
    """The designations that may still be chosen: their numbers, what each serves at most, and whether that is known."""

    def __init__(self, designations: Designations, cuts: Sequence[Cut]) -> None:
        self._designations = designations
        self.numbers = np.arange(designations.count)
        self.solved = np.zeros(designations.count, dtype=bool)
        self._far = designations.farness().every()
        self._uppers = np.array([designations.bounds_rps(cut).every() for cut in cuts])
        self.upper_rps = self._uppers.max(axis=0)

    def highest(self) -> int:
        return int(self.upper_rps.argmax())

    def nearest(self) -> int:
        return int(self._far.argmin())

    def learn(self, solved: int, served_rps: float, cuts: Sequence[Cut]) -> None:
        """One is solved; what its cuts say of the others, by each way to pack KV."""
        everything = len(self.numbers) == self._designations.count
        for way, cut in zip(self._uppers, cuts, strict=True):
            bound = self._designations.bounds_rps(cut)
            np.minimum(way, bound.every() if everything else bound.of(self.numbers), out=way)
        known = self.upper_rps[self.solved]
        np.max(self._uppers, axis=0, out=self.upper_rps)
        self.upper_rps[self.solved] = known
        self.upper_rps[solved], self.solved[solved] = served_rps, True

    def drop_below(self, served_rps: float) -> None:
        kept = np.flatnonzero(self.upper_rps >= served_rps)
        if len(kept) < len(self.numbers):
            self.numbers, self.solved, self._far = self.numbers[kept], self.solved[kept], self._far[kept]
            self._uppers, self.upper_rps = self._uppers[:, kept], self.upper_rps[kept]


def searched(served: Served, designations: Designations) -> Decision:
    """Tabu search over flips of one replica, from the designation in force, until it stalls or the bound is met.

    Neighbours are solved in order of what the cuts found so far allow them, while one may still be the best of them.
    """
    known: list[tuple[Cut, ...]] = [served.relaxed()]
    bound_rps = max(cut.served_rps for cut in known[0])

    def solve(phases: Ints) -> float:
        found, cuts = served.at(phases)
        known.append(cuts)
        return found

    current = best = designations.in_force
    best_rps, stalled = solve(current), 0
    held: deque[int] = deque(maxlen=TENURE)
    while stalled < STALLED and best_rps < bound_rps * (1 - SAME):
        flips = designations.neighbours(current)
        upper, solved = _upper_rps(known, flips), np.zeros(len(flips), dtype=bool)
        tabu = np.isin((flips != current).argmax(axis=1), list(held))
        upper[tabu & (upper <= best_rps)] = -np.inf
        while not solved[at := int(upper.argmax())] and np.isfinite(upper[at]):
            found, solved[at] = solve(flips[at]), True
            upper[at] = found if found > best_rps or not tabu[at] else -np.inf
        if not np.isfinite(upper[at]):
            break
        held.append(int((flips[at] != current).argmax()))
        current, stalled = flips[at], stalled + 1
        if upper[at] > best_rps * (1 + SAME):
            best, best_rps, stalled = current, float(upper[at]), 0
    return Decision(best, best_rps, best_rps, bound_rps, served.solved)


def _upper_rps(known: Sequence[tuple[Cut, ...]], phases: Ints) -> Floats:
    """What each designation (a row) serves at most, by all cuts found so far."""
    ways = [np.min([cut.bound_rps(phases) for cut in cuts], axis=0) for cuts in zip(*known, strict=True)]
    return np.asarray(np.max(ways, axis=0))
