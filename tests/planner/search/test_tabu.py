"""The loop leaves local optima, is repeatable, ends when told, and finds what trying everything finds."""

import pytest

from benchmarks.random_markets import random_market
from planner.deployment import Phase
from planner.search.exhaustive import best_of_all, every_state
from planner.search.neighbourhood import Neighbourhood
from planner.search.score import Aim, Scorer
from planner.search.starts import Limits, Outcome, Terms, best_from
from planner.search.state import State, canonical, inside
from planner.search.stop import AnyOf, MaxSeconds, MaxSteps, ProvenGap, Stalled
from planner.search.supply import Supply
from planner.search.tabu import Visit, tabu_search
from tests.planner.search.searching import capacities, offer, scorer

P, D, M = Phase.PREFILL, Phase.DECODE, Phase.MIXED
SOLVED = (1, 2, 4, 9, 16, 27)
SOLVED_TOO = (0, 6, 11, 18, 22, 31)
"""Random markets with a plan."""


def visit(of: Scorer, state: State) -> Visit:
    sums = of.sums(state)
    assert sums is not None
    return Visit(state, sums, of.score(state, sums))


def searched(terms: Terms, *starts: State) -> Outcome:
    return best_from(terms, terms.scorer(), starts)


@pytest.mark.parametrize("seed", [*SOLVED, *(pytest.param(seed, marks=pytest.mark.soak) for seed in SOLVED_TOO)])
def test_search_finds_what_trying_everything_finds(seed):
    market = random_market(seed)
    own = capacities(market.model, market.workload, market.slo)
    aim = Aim(market.budget_usd_per_hour)
    terms = Terms(own, market.offers, {}, market.rent_all, aim, Limits(), seed)
    best = best_of_all(terms.scorer())
    assert best is not None
    found = searched(terms, State(terms.scorer().supply.everything if market.rent_all else (), ()))
    assert found.visits[0].score.rps == pytest.approx(best.score.rps, rel=0.01)


def test_everything_is_tried_once():
    of = scorer(offer("a", network=""), offer("b", network=""))
    keys = [canonical(of.supply, state) for state in every_state(of)]
    assert len(keys) == len(set(keys))
    ways = 1 + 3 + 3 + 6  # of two GPUs: none used, one, both as one group, both as two
    assert len(keys) == ways * (ways + 1) // 2


def test_it_goes_through_worse_states_to_a_better_one():
    """All mixed: one group that turns to prefill alone serves nothing, until another decodes what it prefills."""
    of = scorer(offer("a", gpus=4))
    start = visit(of, State((0,), tuple(inside(0, 1, M) for _ in range(4))))
    met: list[float] = []
    found = tabu_search(start, Neighbourhood(of, 0), Stalled(40), lambda one: met.append(one.score.rps))
    assert found.best.score.rps > start.score.rps
    assert met == sorted(met)
    assert {group.phase for group in found.best.state.groups} == {P, D}


def test_the_same_seed_finds_the_same():
    of = scorer(offer("a", gpus=8), offer("b", gpu="A6000", gpus=8))
    start = visit(of, State((0, 1), ()))
    first, second = (tabu_search(start, Neighbourhood(of, 5), MaxSteps(25)) for _ in range(2))
    assert first == second


def test_in_processes_the_same_is_found_as_here():
    terms = Terms(capacities(), (offer("a", gpus=4), offer("b", gpus=4)), {}, True, Aim(9.0), Limits(steps=15), 1)
    starts = State((0, 1), ()), State((0, 1), (inside(0, 4, P), inside(1, 4, D)))
    here = best_from(terms, terms.scorer(), starts, processes=1)
    there = best_from(terms, terms.scorer(), starts, processes=2)
    assert [one.score for one in here.visits] == [one.score for one in there.visits]
    assert here.steps == there.steps


def test_an_interrupt_ends_the_processes_too():
    terms = Terms(capacities(), (offer("a", gpus=4), offer("b", gpus=4)), {}, True, Aim(9.0), Limits(steps=10**6), 1)

    def interrupted(_: Visit) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        best_from(terms, terms.scorer(), [State((0, 1), ())] * 2, interrupted, processes=2)


def test_a_search_rents_what_the_budget_buys_and_no_more():
    offers = offer("good", gpus=1, usd_per_hour=1.0, available=3), offer("bad", gpus=1, usd_per_hour=5.0)
    terms = Terms(capacities(), offers, {}, False, Aim(2.5), Limits(), 0)
    found = searched(terms, State((), ())).visits[0]
    assert found.state.rented == (0, 0)
    assert found.score.usd_per_hour == pytest.approx(2.0)


@pytest.mark.parametrize(("usd_per_hour", "copies", "rented"), [(0.97, 9, 0), (0.9, 10, 1)])
def test_a_search_rents_what_can_be_taken_back_where_it_is_cheaper_by_more_than_it_loses(usd_per_hour, copies, rented):
    """Whether it begins with as many copies as $9 buys of the one, or of the other."""
    alike = {"gpus": 1, "available": 10, "network": ""}
    offers = offer("safe", **alike), offer("taken", usd_per_hour=usd_per_hour, interruptible=True, **alike)
    terms = Terms(capacities(), offers, {}, False, Aim(9.0), Limits(stall=3), 0)
    starts = (
        State((i,) * many, tuple(inside(n, 1, M) for n in range(many)))
        for i, many in enumerate((9, int(9 / usd_per_hour)))
    )
    assert searched(terms, *starts).visits[0].state.rented == (rented,) * copies


@pytest.mark.parametrize("usd_per_hour", [1.0, 0.99])
def test_the_least_is_spent_for_a_rate_and_of_two_that_cost_as_much_the_one_that_stays_is_taken(usd_per_hour):
    offers = offer("taken", gpus=1, usd_per_hour=usd_per_hour, interruptible=True), offer("safe", gpus=1)
    of = Scorer(capacities(), Supply(offers, capacities().task.llm, links={}), Aim(9.0, 0.5))
    taken, safe = (visit(of, State((i,), (inside(0, 1, M),))).score.merit for i in range(2))
    assert (taken > safe) == (usd_per_hour < 1)


def test_a_rate_is_served_for_the_least():
    offers = offer("small", gpus=1, usd_per_hour=1.0, available=4), offer("large", gpus=4, usd_per_hour=3.0)
    one = searched(Terms(capacities(), offers, {}, False, Aim(9.0), Limits(), 0), State((0,), (inside(0, 1, M),)))
    rate = one.visits[-1].score.rps * 0.9
    least = searched(Terms(capacities(), offers, {}, False, Aim(9.0, rate), Limits(), 0), one.visits[0].state)
    assert least.visits[0].state.rented == (0,)
    assert least.visits[0].score.rps >= rate * (1 - 1e-6)


def test_searches_stop_when_they_should():
    clock = iter([0.0, 0.0, 4.0, 5.0]).__next__
    seconds = MaxSeconds(5.0, clock)
    assert [seconds(1.0), seconds(1.0), seconds(1.0)] == [False, False, True]
    steps, stalled, gap = MaxSteps(2), Stalled(2), ProvenGap(10.0, 0.05)
    assert [steps(1.0) for _ in range(3)] == [False, False, True]
    assert [stalled(best) for best in (1.0, 1.0, 2.0, 2.0, 2.0)] == [False, False, False, False, True]
    assert [gap(best) for best in (9.4, 9.6)] == [False, True]
    assert not ProvenGap(None, 0.5)(1e9)
    assert AnyOf(MaxSteps(9), ProvenGap(1.0, 0.0))(1.0)
