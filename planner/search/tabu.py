"""Tabu search over what is rented, groups and phases, after ThunderServe's upper level.

From a state to its best neighbour, even where that is worse, but not back: the canonical forms last visited are tabu.
Two departures from the textbook: a step that gains is repeated on all that is alike, and a search that is stuck begins
again from the best, a few random steps away (iterated local search: Lourenço, Martin, Stützle, 2003).
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from planner.search.again import again
from planner.search.moves import View
from planner.search.neighbourhood import Neighbour, Neighbourhood
from planner.search.score import Score, Scorer, Sums
from planner.search.state import Key, State, Step, canonical
from planner.search.stop import Stop

TABU_LENGTH = 200
"""States last visited that are not visited again."""

PATIENCE, KICK = 8, 3
"""Steps in a row without a new best, after which so many random ones lead away from it."""
MOST_SCORED = 24
"""Neighbours that are scored from one state, those of the highest ceilings: each takes a linear program."""


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
    steps = idle = 0
    while not stop(best.score.merit):
        if idle == PATIENCE:
            current, idle = kicked(best, neighbourhood), 0
        tabu.append(canonical(scorer.supply, current.state))
        following = best_of(current, neighbourhood.around(current.state, current.sums), scorer, tabu)
        if following is None:
            idle = PATIENCE
            continue
        current, steps, idle = following, steps + 1, idle + 1
        if current.score.merit > best.score.merit:
            best, idle = current, 0
            bests.append(best)
            improved(best)
    return Found(tuple(bests), steps)


def best_of(current: Visit, neighbours: Iterable[Neighbour], scorer: Scorer, tabu: Sequence[Key]) -> Visit | None:
    """The best neighbour that is not tabu. One whose ceiling is below a score found before needs none of its own.

    A step that gains is taken on all groups alike, for as long as it gains.
    """
    found: tuple[Visit, Step] | None = None
    scored = 0
    for neighbour in sorted(neighbours, key=lambda one: -one.ceiling.lead):
        if found and (scored == MOST_SCORED or neighbour.ceiling.lead <= found[0].score.lead):
            break
        there = current.state.after(neighbour.step)
        if canonical(scorer.supply, there) in tabu:
            continue
        score, scored = scorer.score(there, neighbour.sums), scored + 1
        if found is None or score.lead > found[0].score.lead:
            found = Visit(there, neighbour.sums, score), neighbour.step
    return repeated(current, *found, scorer) if found else None


def repeated(before: Visit, after: Visit, step: Step, scorer: Scorer) -> Visit:
    """Where the step leads to that led from one to the other, if it is taken again while it gains."""
    while after.score.lead > before.score.lead:
        view = View(scorer.supply, after.state)
        once_more = again(View(scorer.supply, before.state), step, view)
        sums = once_more and scorer.sums_after(after.state, after.sums, once_more)
        if not once_more or not sums or scorer.ceiling(sums).lead <= after.score.lead:
            return after
        there = after.state.after(once_more)
        following = Visit(there, sums, scorer.score(there, sums))
        if following.score.lead <= after.score.lead:
            return after
        before, after, step = after, following, once_more
    return after


def kicked(best: Visit, neighbourhood: Neighbourhood) -> Visit:
    """Some random steps away from the best, so as to come back by another way."""
    state, sums = best.state, best.sums
    for _ in range(KICK):
        if neighbour := neighbourhood.any_around(state, sums):
            state, sums = state.after(neighbour.step), neighbour.sums
    return Visit(state, sums, neighbourhood.scorer.score(state, sums))
