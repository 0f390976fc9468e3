"""What every baseline is given, the same as the planner, and what they share of its means to rent and to place."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from planner.catalog import Offer
from planner.choosing.candidate import Candidate
from planner.choosing.search import Search
from planner.links import Links
from planner.parallel.layouts import Capacities
from planner.procurement.fleet import sized
from planner.procurement.procure import procure
from planner.procurement.purchase import Purchase
from planner.procurement.shop import Choice, choice_of

LEAST_RPS = 1e-6
"""A purchase that promises less serves nothing."""
RENTING_S = 1.0
"""A baseline rents this long at most for one of its configurations: it tries many."""
FINALISTS = 2
"""Candidates of a baseline that are simulated: what serves the most analytically need not in simulation."""


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """The offers of a market with what replicas on them serve, and the money; `fixed` rents all of them.

    Each is itself alone, so that what is found for one can be kept.
    """

    capacities: Capacities
    offers: tuple[Offer, ...]
    budget_usd_per_hour: float
    links: Links = field(default_factory=dict)
    fixed: bool = False
    seed: int = 0

    @property
    def search(self) -> Search:
        """The planner's own means to place, to pair and to try."""
        return Search(self.capacities, self.budget_usd_per_hour, self.links, self.fixed, self.seed)

    @property
    def gpu_types(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(offer.gpu.name for offer in self.offers))

    def in_fleet(self) -> "Setting":
        """With the capacities of replicas in a fleet of about the size that the planner takes these offers for."""
        budget, links, capacities = self.budget_usd_per_hour, self.links, self.capacities
        own, _ = sized(capacities, self.offers, links, budget_usd_per_hour=budget, keep_all=self.fixed)
        return replace(self, capacities=own)

    def only(self, gpu_type: str) -> "Setting":
        """The offers of one GPU type."""
        return replace(self, offers=tuple(offer for offer in self.offers if offer.gpu.name == gpu_type))

    def choice(self, capacities: Capacities) -> Choice:
        """What there is to choose from under the rules of these capacities."""
        return choice_of(capacities, self.offers, links=self.links, keep_all=self.fixed)

    def bought(self, choice: Choice) -> Purchase | None:
        """The most that the budget buys of a choice; None if that is nothing."""
        if not choice.serves:
            return None
        found = procure(
            choice.shop,
            choice.prefill,
            choice.decode,
            choice.mixed,
            budget_usd_per_hour=self.budget_usd_per_hour,
            rent_all=self.fixed,
            seconds=RENTING_S,
        )
        return found if found and found.served_rps > LEAST_RPS else None

    def formed(self, capacities: Capacities) -> Candidate | None:
        """The most that the budget buys under the rules of these capacities, placed and paired."""
        choice = self.choice(capacities)
        purchase = self.bought(choice)
        return self.search.formed(choice, purchase) if purchase else None


def best_few(found: Iterable[Candidate | None]) -> list[Candidate]:
    """Those that serve the most analytically, the best first."""
    return sorted(filter(None, found), key=lambda one: -one.pairing.served_rps)[:FINALISTS]
