"""Ways to fill one instance with groups: what the search puts on what it rents, and falls back on."""

from typing import TypeAlias

from planner.deployment import Phase
from planner.search.rating import Ratings

Packing: TypeAlias = tuple[tuple[int, Phase], ...]
"""(GPUs, phase) of each group."""
PHASES = (Phase.PREFILL, Phase.DECODE, Phase.MIXED)


class Packings:
    """The packings of each offer, worked out once."""

    def __init__(self, ratings: Ratings) -> None:
        self.ratings = ratings
        self._of: dict[int, tuple[Packing, ...]] = {}

    def of(self, offer: int) -> tuple[Packing, ...]:
        """All GPUs for one phase, and some for prefill with the rest for decode. None that serves nothing."""
        alike = self.ratings.supply.alike[offer]
        if alike not in self._of:
            gpus = self.ratings.supply.gpus[alike]
            best = {phase: self._best(alike, gpus, phase) for phase in PHASES}
            whole = [best[phase][gpus] for phase in PHASES]
            parted = [
                best[Phase.PREFILL][n] + best[Phase.DECODE][gpus - n]
                for n in range(1, gpus)
                if best[Phase.PREFILL][n] and best[Phase.DECODE][gpus - n]
            ]
            self._of[alike] = tuple(dict.fromkeys(one for one in (*whole, *parted) if one))
        return self._of[alike]

    def _best(self, offer: int, gpus: int, phase: Phase) -> list[Packing]:
        """By how many GPUs may be used: the groups that together serve the most, by dynamic programming."""
        rps, packed = [0.0], list[Packing]([()])
        for room in range(1, gpus + 1):
            rps.append(rps[-1])
            packed.append(packed[-1])
            for size in range(1, room + 1):
                rated = self.ratings.inside(offer, size, phase)
                if rated and rated.rps + rps[room - size] > rps[room]:
                    rps[room] = rated.rps + rps[room - size]
                    packed[room] = (*packed[room - size], (size, phase))
        return packed
