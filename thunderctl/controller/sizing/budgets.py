"""The budget in force and those to come, as a staircase: a pure function of the spec and the time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from provisioners.leases.windows import BudgetWindow, edges

AHEAD_S = 36 * 3600.0
"""So far ahead budgets are looked up: every window comes round once, clock changes and all."""


@dataclass(frozen=True, slots=True)
class Budget:
    """$/h from `at` on: `steps` are (since, $/h), the first at `at`, each other than the one before.

    `usual_usd_per_hour` is what holds outside all windows.
    """

    at: float
    usual_usd_per_hour: float
    steps: tuple[tuple[float, float], ...]

    @property
    def now_usd_per_hour(self) -> float:
        return self.steps[0][1]

    def later(self, at: float) -> "Budget":
        """The same, from a later moment on."""
        passed = [usd for since, usd in self.steps if since <= at]
        coming = tuple(step for step in self.steps if step[0] > at)
        return Budget(at, self.usual_usd_per_hour, ((at, passed[-1]), *coming))

    def least(self, within_s: float) -> float:
        """The least that holds from now until then."""
        return min(usd for since, usd in self.steps if since <= self.at + within_s)

    def lowered(self, within_s: float) -> bool:
        """Whether a window holds less than the usual budget some time until then."""
        return self.least(within_s) < self.usual_usd_per_hour

    def rises_at(self, within_s: float) -> float | None:
        """When it first is more again than the least until then; None where that is not known."""
        least = self.least(within_s)
        lowest_at = next(since for since, usd in self.steps if usd == least)
        return next((since for since, usd in self.steps if since > lowest_at and usd > least), None)


def budget_from(
    at: float, budget_at: Callable[[float], float], usual_usd_per_hour: float, windows: Iterable[BudgetWindow]
) -> Budget:
    """The staircase; `budget_at` is what holds at a moment, by the spec."""
    steps = [(at, budget_at(at))]
    for edge in edges(tuple(windows), at, AHEAD_S):
        usd_per_hour = budget_at(edge)
        if usd_per_hour != steps[-1][1]:
            steps.append((edge, usd_per_hour))
    return Budget(at, usual_usd_per_hour, tuple(steps))
