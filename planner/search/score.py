"""What a state is worth: the requests/s that orchestration finds for it, within budget and wires."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from planner.deployment import Phase
from planner.orchestration.pairing import packed_codec
from planner.parallel.layouts import Capacities, best_codec
from planner.search.carried import Carried, Carrier
from planner.search.hops import Hops
from planner.search.packings import PHASES
from planner.search.rating import Ratings
from planner.search.sites import Site, sites_of
from planner.search.state import Group, State, Step
from planner.search.supply import Supply

THRIFT = 1e-3
"""Part of a score that the whole budget weighs: of two states that serve as much, the cheaper is better."""
SLACK = 1e-3
"""What capacity of either phase weighs that the other can't use yet: it leads over plateaus of the score."""
SHORT = 10.0
"""How many times the whole budget a state weighs that serves nothing of an asked rate."""
EXACT = 1e-9


@dataclass(frozen=True, slots=True)
class Aim:
    """The most requests/s for at most a budget or, with a rate, the least $/h that serves it.

    `risk` is the part of these requests/s that is expected to be lost while interruptible instances are taken back. It
    counts against what a budget buys; of fleets that cost as much, it tells the safer one.
    """

    budget_usd_per_hour: float
    rate_rps: float | None = None

    def merit(self, rps: float, usd_per_hour: float, risk: float = 0.0) -> float:
        """More is better. In requests/s, or in $/h."""
        if self.rate_rps is None:
            return rps * (1 - risk - THRIFT * usd_per_hour / max(self.budget_usd_per_hour, EXACT))
        short = max(0.0, 1 - rps / self.rate_rps)
        return -usd_per_hour * (1 + THRIFT * risk) - SHORT * (self.budget_usd_per_hour + 1.0) * short


@dataclass(frozen=True, slots=True)
class Sums:
    """Requests/s of all groups of each phase together, the rent, and how much of each phase is expected to be lost."""

    prefill: float
    decode: float
    mixed: float
    usd_per_hour: float
    lost_prefill: float = 0.0
    lost_decode: float = 0.0
    lost_mixed: float = 0.0

    @property
    def ceiling_rps(self) -> float:
        """No flow is more."""
        return min(self.prefill, self.decode) + self.mixed

    @property
    def slack(self) -> float:
        """The harmonic mean of both phases, which grows with either."""
        both = self.prefill + self.decode
        return SLACK * 2 * self.prefill * self.decode / both if both else 0.0

    @property
    def risk(self) -> float:
        """The part of the ceiling that is expected to be lost: of what pairs serve, half with either phase."""
        if self.ceiling_rps <= EXACT:
            return 0.0
        paired = min(self.prefill, self.decode)
        ends = self.lost_prefill / self.prefill + self.lost_decode / self.decode if paired else 0.0
        return (paired * ends / 2 + self.lost_mixed) / self.ceiling_rps


NOTHING = Sums(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Score:
    """Requests/s and $/h of a state, what it is worth by the aim, and by that and its slack: what a search follows."""

    rps: float
    usd_per_hour: float
    merit: float
    lead: float


class Scorer:
    """States → scores. What two states have in common is worked out once."""

    def __init__(self, capacities: Capacities, supply: Supply, aim: Aim) -> None:
        self.supply, self.aim = supply, aim
        self.ratings = Ratings(capacities, supply)
        choices = [best_codec] if capacities.codec else [best_codec, packed_codec]
        self._carriers = [Carrier(Hops(capacities, supply, codec_for)) for codec_for in choices]
        self._is_paid = any(o.egress_usd_per_gb + o.ingress_usd_per_gb or o.provider == "aws" for o in supply.offers)
        self._carried: dict[object, Carried] = {}
        self.solved = 0

    def sums(self, state: State) -> Sums | None:
        """None for a state with a group that cannot be, or beyond the budget."""
        return self._changed(NOTHING, state.rented, (), state.groups, state.rented)

    def sums_after(self, state: State, sums: Sums, step: Step) -> Sums | None:
        """Only groups that go and come are looked at. None where the step leads to nothing legal."""
        offers = (*state.rented, *step.rented)
        gone = [state.groups[number] for number in step.gone]
        rent = sums.usd_per_hour - sum(self.supply.usd_per_hour[state.rented[i]] for i in step.released)
        return self._changed(replace(sums, usd_per_hour=rent), offers, gone, step.come, step.rented)

    def _changed(
        self, sums: Sums, offers: tuple[int, ...], gone: Sequence[Group], come: Sequence[Group], rented: Sequence[int]
    ) -> Sums | None:
        usd_per_hour = sums.usd_per_hour + sum(self.supply.usd_per_hour[offer] for offer in rented)
        if usd_per_hour > self.aim.budget_usd_per_hour * (1 + EXACT):
            return None
        rps = {Phase.PREFILL: sums.prefill, Phase.DECODE: sums.decode, Phase.MIXED: sums.mixed}
        lost = {Phase.PREFILL: sums.lost_prefill, Phase.DECODE: sums.lost_decode, Phase.MIXED: sums.lost_mixed}
        for group in come:
            rated = self.ratings.of(offers, group)
            if rated is None:
                return None
            rps[group.phase] += rated.rps
            lost[group.phase] += rated.lost_rps
        for group in gone:
            if rated := self.ratings.of(offers, group):
                rps[group.phase] -= rated.rps
                lost[group.phase] -= rated.lost_rps
        prefill, decode, mixed = (max(0.0, rps[phase]) for phase in PHASES)
        return Sums(prefill, decode, mixed, usd_per_hour, *(max(0.0, lost[phase]) for phase in PHASES))

    def ceiling(self, sums: Sums) -> Score:
        """What no state of these sums exceeds, without a linear program."""
        return self._score(sums, sums.ceiling_rps, sums.usd_per_hour)

    def score(self, state: State, sums: Sums) -> Score:
        if not sums.prefill or not sums.decode:
            return self._score(sums, sums.mixed, sums.usd_per_hour)
        spare = self.aim.budget_usd_per_hour - sums.usd_per_hour
        carried = self._most(sites_of(self.ratings, state), max(0.0, spare), sums)
        return self._score(sums, carried.rps + sums.mixed, sums.usd_per_hour + carried.usd_per_hour)

    def _score(self, sums: Sums, rps: float, usd_per_hour: float) -> Score:
        merit = self.aim.merit(rps, usd_per_hour, sums.risk)
        return Score(rps, usd_per_hour, merit, merit + sums.slack)

    def _most(self, sites: Counter[Site], spare: float, sums: Sums) -> Carried:
        asked = None if self.aim.rate_rps is None else max(0.0, self.aim.rate_rps - sums.mixed)
        key = frozenset(sites.items()), (spare, asked) if self._is_paid else None
        if key not in self._carried:
            self._carried[key] = self._solved(sites, spare, asked if self._is_paid else None)
        return self._carried[key]

    def _solved(self, sites: Counter[Site], spare: float, asked_rps: float | None) -> Carried:
        """With the codecs that suit each hop; where their KV fills a wire, packed as well, as `pair` does."""
        self.solved += 1
        found = self._carriers[0].most(sites, spare, asked_rps)
        if not found.could_pack or len(self._carriers) == 1:
            return found
        return max(found, self._carriers[1].most(sites, spare, asked_rps), key=lambda one: one.rps)
