"""Tabu search over what is rented, groups and phases, after ThunderServe's upper level.

From a state to its best neighbour, even where that is worse, but not back: the canonical forms last visited are tabu.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from planner.search.neighbourhood import Neighbour, Neighbourhood
from planner.search.score import Score, Scorer, Sums
from planner.search.state import Key, State, canonical
from planner.search.stop import Stop

TABU_LENGTH = 200
"""States last visited that are not visited again."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A state, the sums of its groups, and its score."""

    state: State
    sums: Sums
    score: Score


@dataclass(frozen=True, slots=True)
class Found:
    """Every state that was the best so far, the best last, and the steps it took."""

    bests: tuple[Visit, ...]
    steps: int

    @property
    def best(self) -> Visit:
        return self.bests[-1]


def tabu_search(
    start: Visit,
    neighbourhood: Neighbourhood,
    stop: Stop,
    improved: Callable[[Visit], None] = lambda _: None,
    length: int = TABU_LENGTH,
) -> Found:
    """The best state met on the way from `start`. `improved` is told of each that is the best so far."""
    scorer = neighbourhood.scorer
    current = best = start
    bests = [start]
    tabu: deque[Key] = deque(maxlen=length)
    steps = 0
    while not stop(best.score.merit):
        tabu.append(canonical(scorer.supply, current.state))
        following = best_of(current.state, neighbourhood.around(current.state, current.sums), scorer, tabu)
        if following is None:
            break
        current, steps = following, steps + 1
        if current.score.merit > best.score.merit:
            best = current
            bests.append(best)
            improved(best)
    return Found(tuple(bests), steps)


def best_of(state: State, neighbours: Iterable[Neighbour], scorer: Scorer, tabu: Sequence[Key]) -> Visit | None:
    """The best neighbour that is not tabu. One whose ceiling is below a score found before needs none of its own."""
    found: Visit | None = None
    for neighbour in sorted(neighbours, key=lambda one: -one.ceiling.lead):
        if found and neighbour.ceiling.lead <= found.score.lead:
            break
        there = state.after(neighbour.step)
        if canonical(scorer.supply, there) in tabu:
            continue
        score = scorer.score(there, neighbour.sums)
        if found is None or score.lead > found.score.lead:
            found = Visit(there, neighbour.sums, score)
    return found
