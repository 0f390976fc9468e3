"""When the controller rebalances by itself. Pure: assessments in order and what was changed before → yes, or why not.

Two assessments in a row have to promise the margin, and what was changed last has to have stood for the cool-down.
That doubles with every change in a row that takes back an earlier one, and what is decided then has to suit the
workloads of the whole cool-down: one that goes back and forth faster than pays is planned for as a mixture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from planner.traces import stratified
from planner.workload import Workload
from thunderctl.controller.adapting.assessment import Assessment

IN_A_ROW = 2
MOST_GROWTH = 4
"""Times the cool-down that it grows to."""
MEMORY = 6
"""Cool-downs after which taking back a change is a change of its own: who waits so long doesn't flap."""
MOVED_PART = 1 / 3
"""Of the margin, where a way is far from what was planned with: then something has surely changed."""
PAST = 4
"""Workloads of the past that are looked at."""
KEPT_PAIRS = 200


@dataclass(frozen=True, slots=True)
class Pace:
    """How eager it is: attainment to be gained, and seconds that a change stands at least."""

    margin: float = 0.03
    cool_down_s: float = 300.0

    def least_gain(self, *, moved: bool) -> float:
        """Attainment that a change has to add; less where a way has `moved`."""
        return self.margin * (MOVED_PART if moved else 1.0)

    @property
    def longest_s(self) -> float:
        """The longest cool-down."""
        return self.cool_down_s * MOST_GROWTH


@dataclass(frozen=True, slots=True)
class Change:
    """Phases or routes that were put in force, by whomever: each flipped replica's phase before and after."""

    at: float
    flips: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def undoes(self, earlier: "Change") -> bool:
        """Whether it takes back a flip of that."""
        return any(earlier.flips.get(name) == (after, before) for name, (before, after) in self.flips.items())


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to act now; else `waits` says what for (empty: nothing is to be gained)."""

    acts: bool
    waits: str = ""
    cooling_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Drift:
    """What is remembered from one assessment to the next. It begins anew with each controller, which only delays."""

    pace: Pace = field(default_factory=Pace)
    last: Assessment | None = None
    streak: int = 0
    declined_until: float = 0.0
    seen: tuple[tuple[float, Workload], ...] = ()

    def after(self, found: Assessment) -> "Drift":
        """One more assessment. Those in a row are of one epoch; one that can't judge ends the row."""
        same = self.last is not None and self.last.epoch == found.epoch
        pays = found.plan is not None and found.gain >= self.pace.least_gain(moved=bool(found.moved))
        streak = ((self.streak if same else 0) + 1) if pays else 0
        return replace(self, last=found, streak=streak, seen=self._seen(found))

    def verdict(self, changes: Sequence[Change]) -> Verdict:
        """What the last assessment leads to. `changes` are those known, oldest first."""
        until = cooling_until(changes, self.pace)
        if self.last is None or self.streak == 0:
            return Verdict(acts=False, cooling_until=until)
        if self.last.at < until:
            return Verdict(acts=False, waits="the last change is too recent", cooling_until=until)
        if self.streak < IN_A_ROW:
            return Verdict(acts=False, waits="another look has to agree", cooling_until=until)
        if self.last.at < self.declined_until:
            return Verdict(acts=False, waits="longer simulations did not confirm it", cooling_until=until)
        return Verdict(acts=True, cooling_until=until)

    def declined(self, at: float) -> "Drift":
        """What the last assessment promised was not confirmed: for a cool-down it is not asked again."""
        return replace(self, streak=0, declined_until=at + self.pace.cool_down_s)

    def past(self, at: float, changes: Sequence[Change]) -> tuple[Workload, ...]:
        """Workloads of the cool-down before `at`, evenly apart, where changes were taken back; else none."""
        growth = growth_of(changes, self.pace)
        if growth == 1:
            return ()
        known = [workload for when, workload in self.seen if when >= at - growth * self.pace.cool_down_s]
        return tuple(known[round(i * (len(known) - 1) / (PAST - 1))] for i in range(PAST)) if known else ()

    def _seen(self, found: Assessment) -> tuple[tuple[float, Workload], ...]:
        recent = tuple(one for one in self.seen if one[0] >= found.at - self.pace.longest_s)
        if found.workload is None:
            return recent
        return (*recent, (found.at, replace(found.workload, lengths=stratified(found.workload.lengths, KEPT_PAIRS))))


def cooling_until(changes: Sequence[Change], pace: Pace) -> float:
    """Until when the last change stands whatever comes; 0 where there was none."""
    return changes[-1].at + pace.cool_down_s * growth_of(changes, pace) if changes else 0.0


def growth_of(changes: Sequence[Change], pace: Pace) -> int:
    """Times the cool-down: doubled for each of the last flips in a row that took back a recent one."""
    growth, turns = 1, [one for one in changes if one.flips]
    for number in range(len(turns) - 1, 0, -1):
        change, memory_s = turns[number], MEMORY * pace.cool_down_s
        if not any(change.undoes(one) for one in turns[:number] if change.at - one.at <= memory_s):
            break
        growth = min(2 * growth, MOST_GROWTH)
    return growth
