"""What a decision about the fleet's size rests on, as values. Times are seconds since the epoch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from planner.shrinking import Serves, cost_of
from thunderctl.controller.sizing.budgets import Budget
from thunderctl.controller.sizing.lulls import Peaks
from thunderctl.fleet.resting import Resting


@dataclass(frozen=True, slots=True)
class Part:
    """An instance of the plan: what it costs, by its live price where it is leased, and how long it takes to serve.

    `leased`: a machine of it may cost. `ready`: that can serve.
    """

    id: str
    offer_id: str
    usd_per_hour: float
    start_s: float
    leased: bool = True
    ready: bool = True


@dataclass(frozen=True, slots=True)
class Quote:
    """The cheapest machine that would do the same job as an instance, and how long it takes to serve."""

    usd_per_hour: float
    start_s: float


@dataclass(frozen=True, slots=True)
class Rules:
    """What the user set, and what follows from it.

    `scale`: whether machines are released for want of requests. `lead_s` before a smaller budget begins machines drain,
    so that they are gone by then. Prices have to be above the budget for `over_s`. For want of requests machines go
    after `quiet_s` of a lull, and after `payback` times what a start takes; after any change they stay for
    `cool_down_s`. The fleet is made larger where load is above `busy_share` of what it serves, and is planned to be at
    `aim_share`. Those that prices let rest come back when `spare_share` of the budget would be left.
    """

    scale: bool = False
    min_replicas: int = 1
    lead_s: float = 270.0
    over_s: float = 300.0
    quiet_s: float = 1800.0
    payback: float = 1.0
    cool_down_s: float = 1800.0
    busy_share: float = 0.8
    aim_share: float = 0.6
    spare_share: float = 0.05


@dataclass(frozen=True, slots=True)
class View:
    """One deployment's fleet. `serves` says what a set of the parts serves, requests/s, and `replicas_on` how many
    replicas run on it; `load_rps` is what comes in, in requests like those of the plan, None where nobody can say.

    `over_since` is when what is leased began to cost more than the budget. `left_s`: until the first lease ends.
    `outside_usd_per_hour` is what machines cost that may cost and are none of the parts: they are paid of the same
    budget, and nothing here can let them go. `going_usd_per_hour` is what those cost that are about to be gone: nothing
    is leased of that, and nothing rests for it (`going.py`).
    """

    at: float
    parts: tuple[Part, ...]
    resting: Resting
    budget: Budget
    serves: Serves
    transfer_usd_per_hour: float = 0.0
    planned_transfer_usd_per_hour: float = 0.0
    outside_usd_per_hour: float = 0.0
    going_usd_per_hour: float = 0.0
    load_rps: float | None = None
    peaks: Peaks = field(default_factory=Peaks)
    over_since: float | None = None
    quotes: Mapping[str, Quote] = field(default_factory=dict)
    left_s: float = 12 * 3600.0
    replicas_on: Mapping[str, frozenset[str]] = field(default_factory=dict)

    at_rest: frozenset[str] = field(init=False, repr=False, compare=False)
    awake: frozenset[str] = field(init=False, repr=False, compare=False)
    """Those that are wanted, whether they are there or not."""
    leased: frozenset[str] = field(init=False, repr=False, compare=False)
    usd_per_hour: Mapping[str, float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        at_rest = frozenset(one.id for one in self.parts if self.resting.rests(one.id, one.offer_id))
        object.__setattr__(self, "at_rest", at_rest)
        object.__setattr__(self, "awake", frozenset(one.id for one in self.parts) - at_rest)
        object.__setattr__(self, "leased", frozenset(one.id for one in self.parts if one.leased))
        object.__setattr__(self, "usd_per_hour", {one.id: one.usd_per_hour for one in self.parts})

    @property
    def beside_usd_per_hour(self) -> float:
        """What the budget holds besides the parts."""
        return self.transfer_usd_per_hour + self.outside_usd_per_hour

    def cost_of(self, parts: Iterable[str]) -> float:
        return cost_of(parts, self.usd_per_hour)

    def start_s(self, parts: Iterable[str]) -> float:
        """Until the slowest of them serves; 0 where there are none."""
        some = set(parts)
        return max((one.start_s for one in self.parts if one.id in some), default=0.0)

    def replicas(self, parts: frozenset[str]) -> int:
        """How many replicas have all that they need of these."""
        return sum(needed <= parts for needed in self.replicas_on.values())


def is_over(view: View) -> bool:
    """Whether what is leased and wanted costs more than the budget in force."""
    costs = view.cost_of(view.awake & view.leased) + view.beside_usd_per_hour
    return costs > view.budget.now_usd_per_hour + 1e-9
