"""What is taken from the simulated days, and what they came to."""

from dataclasses import dataclass, field

from planner.deployment import Plan


@dataclass(frozen=True, slots=True)
class Loss:
    """A machine is taken back; which one is drawn among those that are ready then, by `pick`."""

    at_s: float
    notice: bool
    pick: float


@dataclass(slots=True)
class Lived:
    """What the days came to, one interval after the other: attainment and seconds, money, and what the controller's own
    code took."""

    attained: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    burned: list[float] = field(default_factory=list)
    serving: list[int] = field(default_factory=list)
    tick_s: list[float] = field(default_factory=list)
    part_s: dict[str, list[float]] = field(default_factory=dict)
    beside_s: dict[str, list[float]] = field(default_factory=dict)
    windows: dict[int, Plan] = field(default_factory=dict)
    spent_usd: float = 0.0
    flips: int = 0
    rebalances: int = 0
    epochs: int = 0
    leased: int = 0
    released: int = 0
    lost: int = 0
    refused: int = 0
    events: dict[str, int] = field(default_factory=dict)
