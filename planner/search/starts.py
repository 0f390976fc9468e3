"""Tabu search from several starts: one after another, or for large fleets in processes beside each other.

They race: each start is searched, with a seed of its own, for as long as it gains, and the best that is found so until
the limits. What is found is ranked by merit, then by start: the same inputs give the same result, in processes or not,
unless time runs out. The first start is searched here, where progress is told.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Protocol

from planner.catalog import Offer
from planner.deaf import deaf_children
from planner.links import Links
from planner.parallel.layouts import Capacities
from planner.search.neighbourhood import Neighbourhood
from planner.search.packings import Packings
from planner.search.parts import part_of, whole
from planner.search.score import Aim, Scorer
from planner.search.start import clustered, mixed
from planner.search.state import State
from planner.search.stop import AnyOf, MaxSeconds, MaxSteps, ProvenGap, Stalled, Stop, Told
from planner.search.supply import Supply
from planner.search.tabu import PATIENCE, Visit, tabu_search

PARALLEL_GPUS = 128
"""Below it a search takes about as long as a process takes to start."""


PATIENT_STALL = 150
"""Steps without gain after which the search of a large fleet ends: there are more ways on, and each gains less."""
PART_STARTS, MOST_STARTS = 2, 2
"""Of a part of a large fleet: all mixed, and clustered. Of the whole: that part repeated, and what was given first."""


class Flag(Protocol):
    """What processes share to be told to stop."""

    def is_set(self) -> bool: ...
    def set(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """When the search from one start ends: steps, steps in a row without gain, seconds, or a gap to a bound."""

    steps: int = 400
    stall: int = 30
    seconds: float = 10.0
    bound: float | None = None
    gap: float = 0.001

    def stop(self, told: Callable[[], bool] | None = None) -> Stop:
        own: list[Stop] = [MaxSteps(self.steps), Stalled(self.stall), MaxSeconds(self.seconds)]
        own += [ProvenGap(self.bound, self.gap)] if self.bound is not None else []
        return AnyOf(*own, *([Told(told)] if told else []))


@dataclass(frozen=True, slots=True)
class Terms:
    """All that a search needs, in a form that another process can be given."""

    capacities: Capacities
    offers: tuple[Offer, ...]
    links: Links
    rent_all: bool
    aim: Aim
    limits: Limits
    seed: int

    def scorer(self) -> Scorer:
        supply = Supply(self.offers, self.capacities.task.llm, links=self.links, rent_all=self.rent_all)
        return Scorer(self.capacities, supply, self.aim)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The states that were the best of their search at some time, best first, and the steps of all searches."""

    visits: tuple[Visit, ...]
    steps: int


def best_from(
    terms: Terms,
    scorer: Scorer,
    starts: Sequence[State],
    improved: Callable[[Visit], None] = lambda _: None,
    *,
    processes: int | None = None,
) -> Outcome:
    """Search from every start that is legal. `processes` is how many at most, by default as many as there are cores."""
    gpus = max((sum(scorer.supply.gpus[offer] for offer in state.rented) for state in starts), default=0)
    if terms.rent_all and gpus >= PARALLEL_GPUS:
        terms = replace(terms, limits=replace(terms.limits, stall=max(terms.limits.stall, PATIENT_STALL)))
        starts = (_in_parts(terms, scorer, starts[0].rented), *starts)[:MOST_STARTS]
    many = min(len(starts), processes or os.cpu_count() or 1) if gpus >= PARALLEL_GPUS or processes else 1
    return _raced(terms, scorer, starts, improved, many)


def _in_parts(terms: Terms, scorer: Scorer, rented: tuple[int, ...]) -> State:
    """The best that is found of a part of the fleet, as often as there is of it."""
    packings = Packings(scorer.ratings)
    part, parts = part_of(packings, rented)
    starts = mixed(packings, part), clustered(packings, part)
    limits = replace(terms.limits, bound=None)
    best = _raced(replace(terms, limits=limits), scorer, starts).visits
    return whole(packings, rented, best[0].state if best else starts[0], parts)


def _raced(
    terms: Terms,
    scorer: Scorer,
    starts: Sequence[State],
    improved: Callable[[Visit], None] = lambda _: None,
    processes: int = 1,
) -> Outcome:
    """From every start for as long as it gains; then from the best that is found so, until the limits."""
    short = replace(terms, limits=replace(terms.limits, stall=PATIENCE))
    found = _ranked(_each(short, scorer, starts, improved, processes))
    if not found.visits:
        return found
    return _ranked([found, _searched(terms, scorer, found.visits[0].state, len(starts), improved)])


def _each(
    terms: Terms, scorer: Scorer, starts: Sequence[State], improved: Callable[[Visit], None], processes: int
) -> list[Outcome]:
    if processes > 1:
        try:
            return _in_processes(terms, scorer, starts, improved, processes)
        except BrokenProcessPool:  # a caller that cannot be imported, as from standard input
            pass
    return [_searched(terms, scorer, start, n, improved) for n, start in enumerate(starts)]


def _searched(
    terms: Terms,
    scorer: Scorer,
    start: State,
    number: int,
    improved: Callable[[Visit], None] = lambda _: None,
    told: Callable[[], bool] | None = None,
) -> Outcome:
    sums = scorer.sums(start)
    if sums is None:
        return Outcome((), 0)
    neighbourhood = Neighbourhood(scorer, terms.seed * 1000 + number)
    first = Visit(start, sums, scorer.score(start, sums))
    found = tabu_search(first, neighbourhood, terms.limits.stop(told), improved)
    return Outcome(found.bests[::-1], found.steps)


def _ranked(outcomes: Sequence[Outcome]) -> Outcome:
    visits = [visit for outcome in outcomes for visit in outcome.visits]
    return Outcome(
        tuple(sorted(visits, key=lambda visit: -visit.score.merit)), sum(outcome.steps for outcome in outcomes)
    )


def _in_processes(
    terms: Terms, scorer: Scorer, starts: Sequence[State], improved: Callable[[Visit], None], many: int
) -> list[Outcome]:
    """Whatever ends this, no process outlives it by more than a step: `over` tells them."""
    context = get_context("spawn")
    over = context.Event()
    pool = ProcessPoolExecutor(many - 1, context, _prepared, (terms, over))
    try:
        others: list[Future[Outcome]] = []
        with deaf_children():
            others += (pool.submit(_searched_there, start, n) for n, start in enumerate(starts) if n)
        first = _searched(terms, scorer, starts[0], 0, improved)
        return [first, *(other.result() for other in others)]
    finally:
        over.set()
        pool.shutdown(cancel_futures=True)


_THERE: list[tuple[Terms, Scorer, Flag]] = []
"""What a process of the pool was given when it started; empty in every other."""


def _prepared(terms: Terms, over: Flag) -> None:
    _THERE.append((terms, terms.scorer(), over))


def _searched_there(start: State, number: int) -> Outcome:
    terms, scorer, over = _THERE[0]
    return _searched(terms, scorer, start, number, told=over.is_set)
