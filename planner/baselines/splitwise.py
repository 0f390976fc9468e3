"""Splitwise (ISCA 2024): the GPU type decides on the phase, such as H100 for prefill and A100 for decode.

Of few types every assignment is tried. Of many, every pair of a type for prefill and one for decode in the order of
what it could serve at most, until no other can be better; further types then join, in either phase, while one helps.
"""

from collections.abc import Iterable, Mapping
from itertools import product
from math import inf
from typing import TypeAlias

from planner.baselines.pools import groups_of
from planner.baselines.rules import Inside, PhaseByType
from planner.baselines.setting import Setting
from planner.choosing.candidate import Candidate
from planner.deployment import Phase
from planner.parallel.rules import Ruled

SPLIT = (Phase.PREFILL, Phase.DECODE)
FEW_TYPES = 5
MOST_PAIRS = 24
"""Tried at most, where wires keep all of them far below what their GPUs could serve."""
JOINING = 4
"""The cheapest types of each phase that are tried beside the best pair."""
Assignment: TypeAlias = Mapping[str, Phase]
Prices: TypeAlias = Mapping[tuple[str, Phase], float]
"""The least $/h for each request/s by type and phase."""
Found: TypeAlias = tuple[Assignment, Candidate] | None


def splitwise(setting: Setting) -> list[Candidate]:
    """What the best assignment makes of the offers."""
    types = setting.gpu_types
    if len(types) <= FEW_TYPES:
        every = [dict(zip(types, phases, strict=True)) for phases in product(SPLIT, repeat=len(types))]
        best = _best(setting, every)
    else:
        prices = _prices(setting)
        best = _joined(setting, prices, _best_pair(setting, prices))
    return [best[1]] if best else []


def _best(setting: Setting, assignments: Iterable[Assignment]) -> Found:
    formed = ((phases, setting.formed(Ruled(setting.capacities, PhaseByType(phases)))) for phases in assignments)
    served = [(phases, one) for phases, one in formed if one]
    return max(served, key=lambda found: found[1].pairing.served_rps, default=None)


def _best_pair(setting: Setting, prices: Prices) -> Found:
    pairs = [
        (setting.budget_usd_per_hour / (prefill_usd + decode_usd), {first: Phase.PREFILL, second: Phase.DECODE})
        for (first, phase), prefill_usd in prices.items()
        for (second, other), decode_usd in prices.items()
        if first != second and (phase, other) == SPLIT
    ]
    best: Found = None
    for most_rps, phases in sorted(pairs, key=lambda pair: -pair[0])[:MOST_PAIRS]:
        if best and most_rps <= best[1].pairing.served_rps:
            break
        best = _better(best, _best(setting, [phases]))
    return best


def _joined(setting: Setting, prices: Prices, best: Found) -> Found:
    """With more types, one at a time, while that serves more."""
    ranked = [sorted((p, key) for key, p in prices.items() if key[1] is phase)[:JOINING] for phase in SPLIT]
    worth = [key for cheapest in ranked for _, key in cheapest]
    while best:
        more = _best(setting, [{**best[0], name: phase} for name, phase in worth if name not in best[0]])
        if _better(best, more) is best:
            break
        best = more
    return best


def _better(one: Found, other: Found) -> Found:
    if one is None or other is None:
        return one or other
    return other if other[1].pairing.served_rps > one[1].pairing.served_rps else one


def _prices(setting: Setting) -> Prices:
    """Of what is affordable: an instance serves what its groups do, and sends or takes what its wires carry."""
    choice = setting.choice(Ruled(setting.capacities, Inside()))
    prices: dict[tuple[str, Phase], float] = {}
    for wire, phase in enumerate(SPLIT):
        for group in groups_of(choice, phase):
            offer = choice.offers[group.offer]
            if offer.usd_per_hour <= setting.budget_usd_per_hour:
                rps = min(
                    offer.gpu_count / group.layout.gpus * group.rps, float(choice.shop.wire_rps[group.offer, wire])
                )
                key = offer.gpu.name, phase
                prices[key] = min(offer.usd_per_hour / rps if rps else inf, prices.get(key, inf))
    return prices
