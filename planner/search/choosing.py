"""The search: what to rent and how to use it, so that goodput is most for a budget, or cost least for a rate.

Procurement proposes, tabu search refines, orchestration pairs, simulation judges. The other way to use the same
instances, colocated or split, is judged too and the better one wins, so that a plan never loses to the one it would
replace.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from planner.deployment import Alternative, Instance, Phase
from planner.links import Links
from planner.members import Member
from planner.parallel.layouts import Capacities, Task
from planner.search.bound import Bounded, bounded
from planner.search.candidate import Candidate, attains, candidate, simulated_goodput
from planner.search.packings import Packings
from planner.search.placing import placed
from planner.search.procurement import procure
from planner.search.progress import Progress, Report, unheard
from planner.search.purchase import Purchase
from planner.search.rivals import rivals_of
from planner.search.score import Aim, Scorer
from planner.search.settling import settled, state_of
from planner.search.shop import Choice
from planner.search.start import clustered, mixed
from planner.search.starts import Limits, Terms, best_from
from planner.search.state import State, canonical
from planner.search.tabu import Visit

LEAST_RATE_RPS = 0.01
"""What serves less than this serves nothing."""
MARGINS = (0.85, 0.9, 0.95, 1.0, 1.1, 1.25, 1.5, 2.0)
"""Times the asked rate that is planned for, in turn, until simulation confirms the asked rate."""
KEPT = 0.97
"""Part of procurement's promise that pairing should keep."""
FINALISTS, CLOSE = 2, 0.005
"""States that are simulated at most, and how far below the best score they may be."""
WORTH = 0.005
"""What a rival must seem to serve more before it is looked at closely."""
COLOCATED, SPLIT = "colocated on the same instances", "split into prefill and decode on the same instances"


@dataclass(slots=True)
class Search:
    """What every step needs: capacities, limits, what is given; and how many candidates were judged so far."""

    capacities: Capacities
    budget_usd_per_hour: float
    links: Links = field(default_factory=dict)
    rent_all: bool = False
    seed: int = 0
    progress: Callable[[str], None] = lambda _: None
    report: Report = unheard
    limits: Limits = field(default_factory=Limits)
    most_starts: int | None = None
    evaluations: int = 0
    began_s: float = field(default_factory=time.perf_counter)

    @property
    def task(self) -> Task:
        return self.capacities.task

    def formed(self, choice: Choice, purchase: Purchase) -> Candidate | None:
        """The purchase, placed and paired."""
        return self.paired(*placed(purchase, choice.options, choice.offers, self.task.llm))

    def settled(self, scorer: Scorer, state: State) -> Candidate | None:
        """The state, placed and paired."""
        return self.paired(*settled(scorer.ratings, state))

    def paired(self, instances: Sequence[Instance], members: Sequence[Member]) -> Candidate | None:
        self.evaluations += 1
        return candidate(
            self.capacities,
            instances,
            members,
            budget_usd_per_hour=self.budget_usd_per_hour,
            links=self.links,
            keep_all=self.rent_all,
        )

    def goodput_rps(self, chosen: Candidate, beyond_rps: float = 0.0) -> float:
        """Confirmed by long runs, unless short ones find that it is no more than `beyond_rps`."""
        return simulated_goodput(self.task, chosen, self.budget_usd_per_hour, beyond_rps=beyond_rps, seed=self.seed)

    def attains(self, chosen: Candidate, rate_rps: float) -> bool:
        """Does it seem worth a closer look?"""
        return attains(self.task, chosen, self.budget_usd_per_hour, rate_rps, seed=self.seed)

    def tell(self, best_rps: float, bound_rps: float, what: str) -> None:
        gap = 1 - best_rps / bound_rps if bound_rps > 0 else 0.0
        self.report(Progress(best_rps, bound_rps, gap, time.perf_counter() - self.began_s, what))


@dataclass(frozen=True, slots=True)
class Finding:
    """The winner and its simulated goodput, a bound on the score of all, and the ones it beat."""

    chosen: Candidate
    goodput_rps: float
    bound_rps: float
    alternatives: tuple[Alternative, ...] = ()


def most_goodput(search: Search, choice: Choice) -> Finding | None:
    """The best use of the budget; None if it buys nothing that serves."""
    bound = bounded_by(search, choice, search.budget_usd_per_hour)
    finalists = finalists_of(search, choice, Aim(search.budget_usd_per_hour), bound)
    return _best_use(search, choice, finalists, bound.rps, _rivals(search, choice)) if finalists else None


def least_cost(search: Search, choice: Choice, rate_rps: float) -> Finding | None:
    """The cheapest use of at most the budget that simulation confirms at the rate; None if there is none."""
    for margin in MARGINS:
        finalists = finalists_of(search, choice, Aim(search.budget_usd_per_hour, rate_rps * margin), None)
        if not finalists or finalists[0].pairing.served_rps < rate_rps * margin * KEPT:
            return None
        cheapest = finalists[0]
        search.progress(f"{cheapest.usd_per_hour:.2f} $/h for {rate_rps * margin:.1f} requests/s")
        whole = cheapest.usd_per_hour + cheapest.pairing.served_rps * cheapest.pairing.transfer_usd_per_hour_per_rps
        finding = _best_use(search, choice, finalists[:1], bounded_by(search, choice, whole).rps)
        if finding.goodput_rps >= rate_rps:
            return finding
    return None


def least_usd_per_hour(search: Search, choice: Choice, rate_rps: float = LEAST_RATE_RPS) -> float | None:
    """What the cheapest purchase costs that serves this rate, whatever the budget; None if none does."""
    purchase = _bought(_without_limit(search, choice), choice, rate_rps)
    return purchase.usd_per_hour if purchase else None


def most_of_all(search: Search, choice: Choice) -> float:
    """Requests/s of everything on offer together."""
    most = _bought(_without_limit(search, choice), choice)
    return most.served_rps if most else 0.0


def bounded_by(search: Search, choice: Choice, budget_usd_per_hour: float) -> Bounded:
    return bounded(search.capacities, choice.offers, search.links, budget_usd_per_hour, rent_all=search.rent_all)


def finalists_of(search: Search, choice: Choice, aim: Aim, bound: Bounded | None) -> list[Candidate]:
    """The best few that tabu search finds, the best first."""
    limits = replace(search.limits, bound=bound.rps if bound else None)
    terms = Terms(search.capacities, choice.offers, search.links, search.rent_all, aim, limits, search.seed)
    scorer = terms.scorer()

    best = [-inf]

    def improved(visit: Visit) -> None:
        if visit.score.merit > best[0]:
            best[0] = visit.score.merit
            search.tell(visit.score.rps, bound.rps if bound else inf, "searching")

    outcome = best_from(terms, scorer, _starts(search, choice, scorer, bound), improved)
    search.evaluations += scorer.solved
    found: dict[object, Candidate] = {}
    for visit in outcome.visits:
        if len(found) == FINALISTS or visit.score.rps < max(LEAST_RATE_RPS, outcome.visits[0].score.rps * (1 - CLOSE)):
            break
        key = canonical(scorer.supply, visit.state)
        if key not in found and (formed := search.settled(scorer, visit.state)):
            found[key] = formed
    return list(found.values())


def _starts(search: Search, choice: Choice, scorer: Scorer, bound: Bounded | None) -> list[State]:
    """What procurement buys, what a bound is reached with and, of the same instances, all mixed and clustered.

    Procurement assumes the best of every link. Where the real ones keep too little of its promise, what it buys to
    serve without any transfer is a start too.
    """
    packings = Packings(scorer.ratings)
    states = []
    if purchase := _bought(search, choice, scorer.aim.rate_rps):
        states.append(_state(search, choice, purchase))
        sums = scorer.sums(states[0])
        if sums is None or scorer.score(states[0], sums).rps < purchase.served_rps * KEPT:
            alone = choice.without(Phase.PREFILL, Phase.DECODE)
            other = _bought(search, alone, scorer.aim.rate_rps)
            states += [_state(search, alone, other)] if other else []
    states += [_rated(scorer, bound.begun)] if bound and bound.begun else []
    rented = states[0].rented if states else scorer.supply.everything if search.rent_all else ()
    states += [mixed(packings, rented), clustered(packings, rented)]
    return list({canonical(scorer.supply, state): state for state in states}.values())[: search.most_starts]


def _rated(scorer: Scorer, state: State) -> State:
    """Without groups that no layout fits after all."""
    return State(state.rented, tuple(group for group in state.groups if scorer.ratings.of(state.rented, group)))


def _state(search: Search, choice: Choice, purchase: Purchase) -> State:
    numbers = {offer.offer_id: i for i, offer in enumerate(choice.offers)}
    return state_of(numbers, *placed(purchase, choice.options, choice.offers, search.task.llm))


def _bought(search: Search, choice: Choice, rate_rps: float | None = None) -> Purchase | None:
    """The most for the budget or, for a rate, the least cost."""
    return procure(
        choice.shop,
        choice.prefill,
        choice.decode,
        choice.mixed,
        budget_usd_per_hour=search.budget_usd_per_hour,
        demand_rps=rate_rps,
        rent_all=search.rent_all,
    )


def _without_limit(search: Search, choice: Choice) -> Search:
    everything = float(choice.shop.usd_per_hour @ choice.shop.available)
    return replace(search, budget_usd_per_hour=everything + 1.0)


def _best_use(
    search: Search,
    choice: Choice,
    finalists: Sequence[Candidate],
    bound_rps: float,
    rivals: Iterable[Candidate] = (),
) -> Finding:
    """The finalist or rival that simulation prefers, or the other use of what it rents if that is preferred to it."""
    chosen, goodput = finalists[0], 0.0
    for one in finalists:
        rps = search.goodput_rps(one, beyond_rps=goodput)
        search.progress(f"{rps:.1f} requests/s for {one.usd_per_hour:.2f} $/h")
        chosen, goodput = (one, rps) if rps > goodput else (chosen, goodput)
    for rival in rivals:
        if search.attains(rival, goodput * (1 + WORTH)):
            rps = search.goodput_rps(rival, beyond_rps=goodput)
            search.progress(f"{rps:.1f} requests/s for {rival.usd_per_hour:.2f} $/h, which the score underrates")
            chosen, goodput = (rival, rps) if rps > goodput else (chosen, goodput)
    other = _other_use(search, choice, chosen)
    if other is None:
        return Finding(chosen, goodput, bound_rps)
    other_goodput = search.goodput_rps(other, beyond_rps=goodput)
    search.progress(f"{other_goodput:.1f} requests/s {SPLIT if other.is_split else COLOCATED}")
    if other_goodput > goodput:
        chosen, goodput, other, other_goodput = other, other_goodput, chosen, goodput
    beaten = Alternative(SPLIT if other.is_split else COLOCATED, other_goodput, other.usd_per_hour)
    return Finding(chosen, goodput, bound_rps, (beaten,))


def _rivals(search: Search, choice: Choice) -> Iterator[Candidate]:
    """What the budget buys of each rival choice, but for what it bought already."""
    if search.rent_all:
        return
    seen: set[bytes] = set()
    for rival in rivals_of(choice):
        purchase = _bought(search, rival) if rival.serves else None
        key = purchase.key if purchase and purchase.served_rps > LEAST_RATE_RPS else b""
        if purchase and key and key not in seen and (formed := search.formed(rival, purchase)):
            yield formed
        seen.add(key)


def _other_use(search: Search, choice: Choice, chosen: Candidate) -> Candidate | None:
    """The same instances all mixed where the candidate is split, else all split; None if that is impossible."""
    others = choice.without(Phase.PREFILL, Phase.DECODE) if chosen.is_split else choice.without(Phase.MIXED)
    rented = Counter(instance.offer_id for instance in chosen.instances)
    copies = np.array([rented[offer.offer_id] for offer in choice.offers])
    same = replace(others, shop=replace(choice.shop, available=copies))
    other = _bought(replace(search, rent_all=True), same)
    if other is None or other.served_rps < LEAST_RATE_RPS:
        return None
    return search.formed(same, other)
