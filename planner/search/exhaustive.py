"""Every way to rent, group and designate a few GPUs, up to names: what a search is measured against.

States are made by adding one group after another to what is rented; those of one canonical form are one, as what can
still be added, and what it brings, depend on the form alone. Their number grows so fast that 8 GPUs are the limit.
"""

from collections.abc import Iterator
from itertools import combinations, product

from planner.search.packings import PHASES
from planner.search.score import Scorer
from planner.search.state import Group, Key, Occupancy, State, Step
from planner.search.supply import Supply
from planner.search.tabu import Visit

MOST_GPUS = 8


def best_of_all(scorer: Scorer) -> Visit | None:
    """The state of most merit; None if none serves anything. Scores are asked for in the order of their ceilings."""
    rated = ((sums, state) for state in every_state(scorer) if (sums := scorer.sums(state)))
    ranked = sorted(((scorer.ceiling(sums), sums, state) for sums, state in rated), key=lambda one: -one[0].merit)
    best: Visit | None = None
    for ceiling, sums, state in ranked:
        if best and ceiling.merit <= best.score.merit:
            break
        score = scorer.score(state, sums)
        if score.rps > 0 and (best is None or score.merit > best.score.merit):
            best = Visit(state, sums, score)
    return best


def every_state(scorer: Scorer) -> Iterator[State]:
    """One of each canonical form, whatever is left idle."""
    for rented in _rentals(scorer.supply):
        if sum(scorer.supply.usd_per_hour[offer] for offer in rented) <= scorer.aim.budget_usd_per_hour:
            yield from _grouped(scorer, State(rented, ()))


def _rentals(supply: Supply) -> Iterator[tuple[int, ...]]:
    """Every choice of copies; of offers alike the first ones."""
    if sum(supply.gpus[offer] for offer in supply.everything) > MOST_GPUS:
        raise ValueError(f"These offers have more than {MOST_GPUS} GPUs; expected at most that many to try everything.")
    if supply.rent_all:
        yield supply.everything
        return
    for copies in product(*(range(offer.available + 1) for offer in supply.offers)):
        rented = tuple(i for i, count in enumerate(copies) for _ in range(count))
        if rented and supply.allows(rented):
            yield rented


def _grouped(scorer: Scorer, bare: State) -> Iterator[State]:
    """The bare state, and every one that adding groups to it leads to."""
    seen: set[Key] = set()
    frontier = [bare]
    while frontier:
        following = []
        for state in frontier:
            occupancy = Occupancy(scorer.supply, state)
            if occupancy.key in seen:
                continue
            seen.add(occupancy.key)
            yield state
            following += [state.after(Step(come=(group,))) for group in _additions(scorer, state, occupancy.idle)]
        frontier = following


def _additions(scorer: Scorer, state: State, idle: list[int]) -> Iterator[Group]:
    """Groups of idle GPUs, on one instance or as many of each of several, in one order, as groups have none."""
    last = state.groups[-1] if state.groups else None
    for count in range(1, len(idle) + 1):
        for chosen in combinations(range(len(idle)), count):
            if not scorer.supply.joined([state.rented[i] for i in chosen]):
                continue
            for gpus in range(1, min(idle[i] for i in chosen) + 1):
                for phase in PHASES:
                    group = Group(tuple((i, gpus) for i in chosen), phase)
                    if (last is None or _order(group) >= _order(last)) and scorer.ratings.of(state.rented, group):
                        yield group


def _order(group: Group) -> tuple[object, ...]:
    return len(group.cuts), group.cuts, group.phase
