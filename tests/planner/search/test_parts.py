"""A part of a fleet, and the whole that its copies make."""

from collections import Counter

from planner.deployment import Phase
from planner.search.packings import Packings
from planner.search.parts import PART_GPUS, part_of, whole
from planner.search.score import Aim
from planner.search.starts import Limits, Terms, best_from
from planner.search.state import State, canonical, inside
from tests.planner.search.searching import capacities, offer, scorer

OFFERS = offer("a", gpus=4, available=21), offer("b", gpu="A6000", gpus=2, available=40)
OF = scorer(*OFFERS)
PACKINGS = Packings(OF.ratings)


def test_copies_of_the_part_and_what_is_left_over_are_the_fleet():
    everything = OF.supply.everything
    part, parts = part_of(PACKINGS, everything)
    assert sum(OF.supply.gpus[one] for one in part) in PART_GPUS
    made = whole(PACKINGS, everything, State(part, (inside(0, 2, Phase.PREFILL),)), parts)
    assert Counter(made.rented) == Counter(everything)
    assert OF.sums(made) is not None
    assert sum(group.phase is Phase.PREFILL for group in made.groups) == parts


def test_a_whole_serves_at_least_as_much_as_its_parts():
    part, parts = part_of(PACKINGS, OF.supply.everything)
    groups = (*(inside(i, 2, Phase.PREFILL) for i in range(2)), *(inside(i, 2, Phase.DECODE) for i in range(2)))
    own = State(part, groups)
    made = whole(PACKINGS, part * parts, own, parts)
    scores = []
    for state in (own, made):
        sums = OF.sums(state)
        assert sums is not None
        scores.append(OF.score(state, sums).rps)
    assert scores[1] >= parts * scores[0] * (1 - 1e-6)


def test_a_large_fleet_is_searched_from_its_parts_and_the_same_is_found_in_processes():
    terms = Terms(capacities(), OFFERS, {}, True, Aim(99.0), Limits(steps=3), 0)
    of = terms.scorer()
    start = State(of.supply.everything, ())
    here = best_from(terms, of, [start], processes=1)
    there = best_from(terms, terms.scorer(), [start], processes=2)
    assert [one.score for one in here.visits] == [one.score for one in there.visits]
    assert Counter(here.visits[0].state.rented) == Counter(of.supply.everything)
    assert canonical(of.supply, here.visits[0].state) != canonical(of.supply, start)
