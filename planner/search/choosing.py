"""The search: what to rent and how to use it, so that goodput is most for a budget, or cost least for a rate.

Procurement proposes, orchestration pairs, simulation judges. The other way to use the same instances, colocated or
split, is judged too and the better one wins, so that a plan never loses to the one it would replace.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from planner.deployment import Alternative, Phase
from planner.links import Links
from planner.parallel.layouts import Capacities, Task
from planner.search.candidate import Candidate, candidate, simulated_goodput
from planner.search.placing import placed
from planner.search.procurement import Purchase, procure
from planner.search.shop import Choice

LEAST_RATE_RPS = 0.01
"""What serves less than this serves nothing."""
MARGINS = (0.85, 0.9, 0.95, 1.0, 1.1, 1.25, 1.5, 2.0)
"""Times the asked rate that is procured for, in turn, until simulation confirms the asked rate."""
KEPT = 0.97
"""Part of procurement's promise that pairing should keep."""
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
    evaluations: int = 0

    @property
    def task(self) -> Task:
        return self.capacities.task

    def formed(self, choice: Choice, purchase: Purchase) -> Candidate | None:
        """The purchase, placed and paired."""
        self.evaluations += 1
        return candidate(
            self.capacities,
            *placed(purchase, choice.options, choice.offers, self.task.llm),
            budget_usd_per_hour=self.budget_usd_per_hour,
            links=self.links,
            keep_all=self.rent_all,
        )

    def goodput_rps(self, chosen: Candidate, beyond_rps: float = 0.0) -> float:
        """Confirmed by long runs, unless short ones find that it is no more than `beyond_rps`."""
        return simulated_goodput(self.task, chosen, self.budget_usd_per_hour, beyond_rps=beyond_rps, seed=self.seed)


@dataclass(frozen=True, slots=True)
class Finding:
    """The winner and its simulated goodput, a bound on the score of all, and the ones it beat."""

    chosen: Candidate
    goodput_rps: float
    bound_rps: float
    alternatives: tuple[Alternative, ...] = ()


def most_goodput(search: Search, choice: Choice) -> Finding | None:
    """The best use of the budget; None if it buys nothing that serves.

    Procurement assumes the best of every link. Where the real ones keep too little of its promise, what serves best
    without any transfer is paired too.
    """
    purchase = _bought(search, choice)
    if purchase is None or purchase.served_rps < LEAST_RATE_RPS:
        return None
    chosen = search.formed(choice, purchase)
    if chosen is None or chosen.pairing.served_rps < purchase.served_rps * KEPT:
        mixed = choice.without(Phase.PREFILL, Phase.DECODE)
        other = _bought(search, mixed)
        alone = search.formed(mixed, other) if other else None
        if alone and other and (chosen is None or alone.pairing.served_rps > chosen.pairing.served_rps):
            return _better_use(search, choice, other, alone, purchase.bound)
    return _better_use(search, choice, purchase, chosen, purchase.bound) if chosen else None


def least_cost(search: Search, choice: Choice, rate_rps: float) -> Finding | None:
    """The cheapest use of at most the budget that simulation confirms at the rate; None if there is none."""
    for margin in MARGINS:
        purchase = _bought(search, choice, rate_rps * margin)
        chosen = search.formed(choice, purchase) if purchase else None
        if purchase is None or chosen is None:
            return None
        search.progress(f"{chosen.usd_per_hour:.2f} $/h for {rate_rps * margin:.1f} requests/s")
        most = _bought(replace(search, budget_usd_per_hour=purchase.usd_per_hour), choice)
        finding = _better_use(search, choice, purchase, chosen, most.bound if most else 0.0)
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


def _better_use(search: Search, choice: Choice, purchase: Purchase, chosen: Candidate, bound_rps: float) -> Finding:
    """The candidate, or the other use of what it rents if simulation prefers that."""
    goodput = search.goodput_rps(chosen)
    search.progress(f"{goodput:.1f} requests/s for {chosen.usd_per_hour:.2f} $/h")
    other = _other_use(search, choice, purchase, chosen)
    if other is None:
        return Finding(chosen, goodput, bound_rps)
    other_goodput = search.goodput_rps(other, beyond_rps=goodput)
    search.progress(f"{other_goodput:.1f} requests/s {SPLIT if other.is_split else COLOCATED}")
    if other_goodput > goodput:
        chosen, goodput, other, other_goodput = other, other_goodput, chosen, goodput
    beaten = Alternative(SPLIT if other.is_split else COLOCATED, other_goodput, other.usd_per_hour)
    return Finding(chosen, goodput, bound_rps, (beaten,))


def _other_use(search: Search, choice: Choice, purchase: Purchase, chosen: Candidate) -> Candidate | None:
    """The same instances all mixed where the candidate is split, else all split; None if that is impossible."""
    others = choice.without(Phase.PREFILL, Phase.DECODE) if chosen.is_split else choice.without(Phase.MIXED)
    same = replace(others, shop=replace(choice.shop, available=purchase.copies))
    other = _bought(replace(search, rent_all=True), same)
    if other is None or other.served_rps < LEAST_RATE_RPS:
        return None
    return search.formed(same, other)
