"""Who wins: finalists and rivals tried one after the other, and the other use of what the winner rents."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import inf

import numpy as np

from planner.choosing.buying import LEAST_RATE_RPS, bought
from planner.choosing.candidate import Candidate
from planner.choosing.finalists import finalists_of
from planner.choosing.goodput import Trial
from planner.choosing.rivals import rivals_of
from planner.choosing.search import Search
from planner.deployment import Alternative, Phase
from planner.evaluate import Measures
from planner.parallel.rules import Colocated, Flat, OneType, Rule, Ruled
from planner.procurement.shop import Choice, choice_of
from planner.search.score import Aim
from planner.search.starts import Limits

UNDERRATED = 1.1
"""Times its score that simulation finds at most: a rival that cannot win by this is not formed."""
AGAIN = Limits(stall=30, seconds=3.0)
"""Of a search under a rule: among mixed groups alone, where simulation prefers these to what the score does, and among
groups of one GPU type, since the score overrates stages that wait for each other."""
COLOCATED, SPLIT = "colocated on the same instances", "split into prefill and decode on the same instances"


@dataclass(frozen=True, slots=True)
class Tried:
    """A candidate and its goodput, confirmed by long runs."""

    candidate: Candidate
    trial: Trial
    goodput_rps: float

    @property
    def alternative(self) -> Alternative:
        name = SPLIT if self.candidate.is_split else COLOCATED
        return Alternative(name, self.goodput_rps, self.candidate.usd_per_hour)


@dataclass(frozen=True, slots=True)
class Finding:
    """The winner and its simulated goodput, a bound on the score of all (infinite: not asked for), and those it beat.

    `measures` are those of its long runs at that goodput, where there were any.
    """

    chosen: Candidate
    goodput_rps: float
    bound_rps: float
    alternatives: tuple[Alternative, ...] = ()
    measures: Measures | None = None


def most_of(
    candidates: Iterable[Candidate], trial_of: Callable[[Candidate], Trial], best: Tried | None = None
) -> Tried | None:
    """The one with the most goodput. Of most, one run or two tell that they don't exceed the best so far."""
    seen = {best.candidate.makeup} if best else set()
    for one in candidates:
        if one.makeup in seen:
            continue
        seen.add(one.makeup)
        trial = trial_of(one)
        if best is None or trial.exceeds(best.goodput_rps):
            rps = trial.goodput_rps()
            best = Tried(one, trial, rps) if best is None or rps > best.goodput_rps else best
    return best


def best_use(search: Search, choice: Choice, finalists: Sequence[Candidate], *, among_rivals: bool = False) -> Finding:
    """The finalist or rival that simulation prefers, or the other use of what it rents if that is preferred to it."""
    best = most_of(finalists, search.trial)
    assert best, "there are finalists"
    search.progress(f"{best.goodput_rps:.1f} requests/s for {best.candidate.usd_per_hour:.2f} $/h")
    if among_rivals:
        first, best = best, most_of(_rivals(search, choice, best.goodput_rps), search.trial, best) or best
        if best is not first and not best.candidate.is_split:
            mixed = choice.without(Phase.PREFILL, Phase.DECODE)
            best = most_of(_found_again(search, mixed, Colocated()), search.trial, best) or best
        if search.rent_all or best.candidate.mixes_types:
            best = most_of(_found_again(search, choice, OneType()), search.trial, best) or best
        if best is not first:
            search.progress(f"{best.goodput_rps:.1f} requests/s by what the score underrates")
    other = _other_use(search, choice, best.candidate)
    if other is None:
        return _finding(best)
    trial = search.trial(other)
    beaten = Tried(other, trial, trial.goodput_rps(best.goodput_rps))
    search.progress(f"{beaten.alternative.goodput_rps:.1f} requests/s {beaten.alternative.name}")
    if beaten.goodput_rps > best.goodput_rps:
        best, beaten = beaten, best
    return _finding(best, beaten.alternative)


def _finding(best: Tried, *beaten: Alternative) -> Finding:
    measures = best.trial.sustained(best.goodput_rps).measures if best.goodput_rps > 0 else None
    return Finding(best.candidate, best.goodput_rps, inf, beaten, measures)


def _rivals(search: Search, choice: Choice, beyond_rps: float) -> Iterator[Candidate]:
    """What the budget buys of each rival choice that may serve more than this."""
    least_rps = max(beyond_rps / UNDERRATED, LEAST_RATE_RPS)
    every = rivals_of(choice, rent_all=search.rent_all)
    for rival in chain(every, _flat(search, choice)) if search.rent_all else every:
        purchase = bought(search, rival, least_rps=least_rps) if rival.serves else None
        if purchase and (formed := search.formed(rival, purchase)):
            yield formed


def _flat(search: Search, choice: Choice) -> Iterator[Choice]:
    """What people do by hand with GPUs that they have: tensor parallelism alone, and of that the smallest."""
    capacities = Flat(search.capacities, Colocated())
    flat = choice_of(capacities, choice.offers, links=search.links, keep_all=True)
    yield from (flat, flat.of_smallest())


def _found_again(search: Search, choice: Choice, rule: Rule) -> list[Candidate]:
    """The best few that the search finds under a rule, over several instances too."""
    own = replace(search, capacities=Ruled(search.capacities, rule), limits=AGAIN)
    found = finalists_of(own, choice, Aim(search.budget_usd_per_hour), None)
    search.evaluations = own.evaluations
    return found


def _other_use(search: Search, choice: Choice, chosen: Candidate) -> Candidate | None:
    """The same instances all mixed where the candidate is split, else all split; None if that is impossible."""
    others = choice.without(Phase.PREFILL, Phase.DECODE) if chosen.is_split else choice.without(Phase.MIXED)
    rented = Counter(instance.offer_id for instance in chosen.instances)
    copies = np.array([rented[offer.offer_id] for offer in choice.offers])
    same = replace(others, shop=replace(choice.shop, available=copies))
    other = bought(replace(search, rent_all=True), same)
    if other is None or other.served_rps < LEAST_RATE_RPS:
        return None
    return search.formed(same, other)
