"""What every step of a plan's making needs: capacities, limits, what is given, and who is told."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from planner.choosing.candidate import Candidate, candidate, simulated_goodput, trial
from planner.choosing.goodput import Trial
from planner.choosing.progress import Progress, Report, unheard
from planner.deployment import Instance
from planner.links import Links
from planner.members import Member
from planner.parallel.layouts import Capacities, Task
from planner.procurement.placing import placed
from planner.procurement.purchase import Purchase
from planner.procurement.shop import Choice
from planner.proof.beside import Ask, here
from planner.search.rating import Ratings
from planner.search.settling import settled
from planner.search.starts import Limits
from planner.search.state import State


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
    ask: Ask = here
    evaluations: int = 0
    began_s: float = field(default_factory=time.perf_counter)

    @property
    def task(self) -> Task:
        return self.capacities.task

    def formed(self, choice: Choice, purchase: Purchase) -> Candidate | None:
        """The purchase, placed and paired."""
        return self.paired(*placed(purchase, choice.options, choice.offers, self.task.llm))

    def settled(self, ratings: Ratings, state: State) -> Candidate | None:
        """The state, placed and paired."""
        return self.paired(*settled(ratings, state))

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

    def goodput_rps(self, chosen: Candidate) -> float:
        """Confirmed by long runs."""
        return simulated_goodput(self.task, chosen, self.budget_usd_per_hour, seed=self.seed)

    def trial(self, chosen: Candidate) -> Trial:
        return trial(self.task, chosen, self.budget_usd_per_hour, seed=self.seed)

    def tell(self, best_rps: float, bound_rps: float, what: str) -> None:
        gap = 1 - best_rps / bound_rps if bound_rps > 0 else 0.0
        self.report(Progress(best_rps, bound_rps, gap, time.perf_counter() - self.began_s, what))
