"""The neighbours of a state that a search looks at: of each kind of move a sample, those that can be, with ceilings."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from random import Random

from planner.deployment import Phase
from planner.search import cuts, moves
from planner.search.moves import View
from planner.search.packings import PHASES, Packings
from planner.search.score import Score, Scorer, Sums
from planner.search.state import State, Step

OF_EACH_KIND = 25
"""Neighbours of one kind of move, of the eleven there are, that are looked at from one state."""
KEPT = 0.7
"""Part of the ceiling that a random step may not take away."""
SHORTLIST = 12
"""Offers of each phase, by requests/s for the money, that are considered for renting; and the cheapest."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A step, the sums it leads to, and the score that it can't exceed."""

    step: Step
    sums: Sums
    ceiling: Score


class Neighbourhood:
    """Samples the steps from a state, the same ones for the same seed."""

    def __init__(self, scorer: Scorer, seed: int, limit: int = OF_EACH_KIND) -> None:
        self.scorer = scorer
        self.packings = Packings(scorer.ratings)
        self.limit = limit
        self._random = Random(seed)
        self._shortlist = [] if scorer.supply.rent_all else self._worth_renting()

    def around(self, state: State, sums: Sums) -> list[Neighbour]:
        """Legal and affordable steps from a state of these sums."""
        view = View(self.scorer.supply, state)
        found = []
        for kind in self._kinds(view):
            for step in self._sample(list(kind)):
                if after := self.scorer.sums_after(state, sums, step):
                    found.append(Neighbour(step, after, self.scorer.ceiling(after)))
        return found

    def any_around(self, state: State, sums: Sums) -> Neighbour | None:
        """One of them, by chance, that may still serve a good part of what is served."""
        near = [one for one in self.around(state, sums) if one.ceiling.rps >= KEPT * sums.ceiling_rps]
        return self._random.choice(near) if near else None

    def _kinds(self, view: View) -> Iterator[Iterator[Step]]:
        yield moves.flips(view)
        yield moves.swaps(view)
        yield moves.splits(view)
        yield moves.merges(view)
        yield moves.moves(view)
        yield chain(cuts.handovers(view), cuts.shifts(view), cuts.gatherings(view))
        yield cuts.trades(view)
        yield moves.repacks(view, self.packings.of)
        if not self.scorer.supply.rent_all:
            rent = sum(self.scorer.supply.usd_per_hour[offer] for offer in view.state.rented)
            yield moves.rents(view, self._shortlist, self.packings.of)
            yield moves.releases(view)
            yield moves.exchanges(view, self._shortlist, self.packings.of, self.scorer.aim.budget_usd_per_hour - rent)

    def _sample(self, steps: list[Step]) -> list[Step]:
        return steps if len(steps) <= self.limit else self._random.sample(steps, self.limit)

    def _worth_renting(self) -> list[int]:
        """One of each offer alike: those that serve the most for the money in some phase, and the cheapest."""
        supply = self.scorer.supply
        affordable = [
            i for i in sorted(set(supply.alike)) if supply.usd_per_hour[i] <= self.scorer.aim.budget_usd_per_hour
        ]
        useful = [i for i in affordable if self.packings.of(i)]
        chosen = sorted(useful, key=lambda i: supply.usd_per_hour[i])[:SHORTLIST]
        for phase in PHASES:
            ranked = sorted(useful, key=lambda i: -self._for_the_money(i, phase))
            chosen += ranked[:SHORTLIST]
        return list(dict.fromkeys(chosen))

    def _for_the_money(self, offer: int, phase: Phase) -> float:
        best = max(
            sum(self._rps(offer, gpus, own) for gpus, own in packing if own is phase)
            for packing in self.packings.of(offer)
        )
        return best / max(self.scorer.supply.usd_per_hour[offer], 1e-6)

    def _rps(self, offer: int, gpus: int, phase: Phase) -> float:
        rated = self.scorer.ratings.inside(self.scorer.supply.alike[offer], gpus, phase)
        return rated.rps if rated else 0.0
