"""What a group serves in its phase, worked out once for all groups alike."""

from dataclasses import dataclass

from planner.deployment import Phase
from planner.parallel.layouts import Capacities, Layout, Share
from planner.search.state import Group, in_shape
from planner.search.supply import Supply


@dataclass(frozen=True, slots=True, eq=False)
class Rated:
    """A group's phase, its best layout and its requests/s in it; and how much of these is expected to be lost while
    one of its instances is taken back. One object for all groups alike."""

    phase: Phase
    layout: Layout
    rps: float
    lost_rps: float

    def order(self) -> tuple[float, ...]:
        """The same in every process, unlike the order in which groups are rated."""
        return self.phase is Phase.PREFILL, self.rps, self.layout.gpus, self.layout.tp, self.layout.kv_tokens


class Ratings:
    """Groups → layouts and rates. Memoised by the offers that cuts are of, by GPUs and phase."""

    def __init__(self, capacities: Capacities, supply: Supply) -> None:
        self.capacities = capacities
        self.supply = supply
        self._known: dict[tuple[tuple[int, ...], int, Phase], Rated | None] = {}

    def of(self, rented: tuple[int, ...], group: Group) -> Rated | None:
        """None for a group that cannot be, or serves nothing."""
        alike = self.supply.alike
        if len(group.cuts) == 1:
            ((instance, gpus),) = group.cuts
            return self.inside(alike[rented[instance]], gpus, group.phase)
        offers = tuple(alike[rented[i]] for i in in_shape(self.supply, rented, group))
        return self._of(offers, group.cuts[0][1], group.phase)

    def inside(self, offer: int, gpus: int, phase: Phase) -> Rated | None:
        """A group on one instance of an offer, which stands for those alike."""
        return self._of((offer,), gpus, phase)

    def _of(self, offers: tuple[int, ...], gpus: int, phase: Phase) -> Rated | None:
        key = (offers, gpus, phase)
        if key not in self._known:
            self._known[key] = self._best(offers, gpus, phase)
        return self._known[key]

    def _best(self, offers: tuple[int, ...], gpus: int, phase: Phase) -> Rated | None:
        if not self.supply.joined(offers):
            return None
        shape = tuple(Share(self.supply.kinds[offer], gpus) for offer in offers)
        between = tuple(tuple(self.supply.link(a, b) for b in offers) for a in offers) if len(offers) > 1 else None
        best = self.capacities.best(shape, phase, between)
        return Rated(phase, *best, best[1] * self.supply.risk(offers)) if best else None
