"""The best few that tabu search finds, from what procurement buys and what the bound is reached with."""

from dataclasses import replace
from math import inf

from planner.choosing.buying import LEAST_RATE_RPS, bought
from planner.choosing.candidate import Candidate
from planner.choosing.search import Search
from planner.deployment import Phase
from planner.procurement.placing import placed
from planner.procurement.purchase import Purchase
from planner.procurement.shop import Choice
from planner.proof.beside import Bound
from planner.proof.bound import Bounded
from planner.search.packings import Packings
from planner.search.score import Aim, Scorer
from planner.search.settling import state_of
from planner.search.start import clustered, mixed
from planner.search.starts import Terms, best_from
from planner.search.state import State, canonical
from planner.search.tabu import Visit

KEPT = 0.97
"""Part of procurement's promise that pairing should keep."""
FINALISTS, CLOSE = 2, 0.005
"""States that are simulated at most, and how far below the best score they may be."""


def finalists_of(search: Search, choice: Choice, aim: Aim, bound: Bound | None) -> list[Candidate]:
    """The best few that tabu search finds, the best first."""
    known = bound.known if bound else None
    limits = replace(search.limits, bound=known.rps if known else None)
    terms = Terms(search.capacities, choice.offers, search.links, search.rent_all, aim, limits, search.seed)
    scorer = terms.scorer()

    best = [-inf]

    def improved(visit: Visit) -> None:
        if visit.score.merit > best[0]:
            best[0] = visit.score.merit
            proven = bound.now() if bound else None
            search.tell(visit.score.rps, proven.rps if proven else inf, "searching")

    outcome = best_from(terms, scorer, _starts(search, choice, scorer, known), improved)
    search.evaluations += scorer.solved
    found: dict[object, Candidate] = {}
    for visit in outcome.visits:
        if len(found) == FINALISTS or visit.score.rps < max(LEAST_RATE_RPS, outcome.visits[0].score.rps * (1 - CLOSE)):
            break
        key = canonical(scorer.supply, visit.state)
        if key not in found and (formed := search.settled(scorer.ratings, visit.state)):
            found[key] = formed
    return list(found.values())


def _starts(search: Search, choice: Choice, scorer: Scorer, known: Bounded | None) -> list[State]:
    """What procurement buys, what a bound is reached with and, of the same instances, all mixed and clustered.

    Procurement assumes the best of every link. Where the real ones keep too little of its promise, what it buys to
    serve without any transfer is a start too.
    """
    packings = Packings(scorer.ratings)
    states = []
    if purchase := bought(search, choice, scorer.aim.rate_rps):
        states.append(_state(search, choice, purchase))
        sums = scorer.sums(states[0])
        if sums is None or scorer.score(states[0], sums).rps < purchase.served_rps * KEPT:
            alone = choice.without(Phase.PREFILL, Phase.DECODE)
            other = bought(search, alone, scorer.aim.rate_rps)
            states += [_state(search, alone, other)] if other else []
    states += [_rated(scorer, known.begun)] if known and known.begun else []
    rented = states[0].rented if states else scorer.supply.everything if search.rent_all else ()
    states += [mixed(packings, rented), clustered(packings, rented)]
    return list({canonical(scorer.supply, state): state for state in states}.values())[: search.most_starts]


def _rated(scorer: Scorer, state: State) -> State:
    """Without groups that no layout fits after all."""
    return State(state.rented, tuple(group for group in state.groups if scorer.ratings.of(state.rented, group)))


def _state(search: Search, choice: Choice, purchase: Purchase) -> State:
    numbers = {offer.offer_id: i for i, offer in enumerate(choice.offers)}
    return state_of(numbers, *placed(purchase, choice.options, choice.offers, search.task.llm))
