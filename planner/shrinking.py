"""Which machines of a fleet to go on with: the most that a budget holds, or the least that serves a rate.

What a set of machines serves is asked of whoever calls, in requests/s: 0 where it serves nothing. It never serves less
for having more. Up to MOST_LISTED machines every set is looked at; beyond that they are dropped one by one, each time
the one whose loss costs the least for the money it frees. Machines that cost nothing are never dropped.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import combinations

Serves = Callable[[frozenset[str]], float]

MOST_LISTED = 8
"""Machines that may be dropped of which all sets are listed: 256 of them."""
PART = 16
"""Of a large fleet, the part that is dropped before losses are worked out anew."""
ROUNDING_USD = 1e-9


def cost_of(machines: Iterable[str], usd_per_hour: Mapping[str, float]) -> float:
    return sum(usd_per_hour[one] for one in machines)


def most_within(
    machines: Collection[str],
    usd_per_hour: Mapping[str, float],
    budget_usd_per_hour: float,
    serves: Serves,
    *,
    keep: Collection[str] = (),
) -> frozenset[str] | None:
    """The set that serves the most within a budget, and is cheapest of those; None where none of them serves.

    `keep` are in it whatever they cost.
    """
    most = budget_usd_per_hour + ROUNDING_USD

    def fits(found: frozenset[str]) -> bool:
        return cost_of(found, usd_per_hour) <= most

    droppable = _droppable(machines, usd_per_hour, keep)
    if len(droppable) <= MOST_LISTED:
        sets = [found for found in _sets(machines, droppable) if fits(found)]
    else:
        sets = [_filled(_shed(machines, droppable, usd_per_hour, serves, until=fits), machines, fits, serves)]
        sets = [found for found in sets if fits(found)]
    best = min(sets, key=lambda found: _rank(found, usd_per_hour, serves), default=None)
    return best if best is not None and serves(best) > 0 else None


def least_for(
    machines: Collection[str],
    usd_per_hour: Mapping[str, float],
    rate_rps: float,
    serves: Serves,
    *,
    keep: Collection[str] = (),
) -> frozenset[str] | None:
    """The cheapest set that serves a rate, and anything at all; None where all of them together don't."""

    def enough(found: frozenset[str]) -> bool:
        served = serves(found)
        return served > 0 and served >= rate_rps

    everyone = frozenset(machines)
    if not enough(everyone):
        return None
    droppable = _droppable(machines, usd_per_hour, keep)
    if len(droppable) <= MOST_LISTED:
        sets = (found for found in _sets(machines, droppable) if enough(found))
        return min(sets, key=lambda found: (cost_of(found, usd_per_hour), -serves(found), sorted(found)))
    return _trimmed(everyone, droppable, usd_per_hour, enough, serves)


def _droppable(machines: Iterable[str], usd_per_hour: Mapping[str, float], keep: Collection[str]) -> list[str]:
    return sorted(one for one in machines if one not in keep and usd_per_hour[one] > 0)


def _sets(machines: Iterable[str], droppable: Collection[str]) -> Iterator[frozenset[str]]:
    kept = frozenset(machines) - frozenset(droppable)
    for count in range(len(droppable) + 1):
        for some in combinations(sorted(droppable), count):
            yield kept | frozenset(some)


def _rank(found: frozenset[str], usd_per_hour: Mapping[str, float], serves: Serves) -> tuple[float, float, list[str]]:
    """The least is the best: of equals the cheapest, and then the first by name."""
    return -serves(found), cost_of(found, usd_per_hour), sorted(found)


def _shed(
    machines: Collection[str],
    droppable: Collection[str],
    usd_per_hour: Mapping[str, float],
    serves: Serves,
    *,
    until: Callable[[frozenset[str]], bool],
) -> frozenset[str]:
    """Dropped one by one, the least loss for the money first, while anything still serves."""
    left, going = frozenset(machines), set(droppable)
    while going and not until(left):
        now, served = serves(left), {one: serves(left - {one}) for one in going}
        ranked = sorted(going, key=lambda one: (_loss(now, served[one]) / usd_per_hour[one], -usd_per_hour[one], one))
        for one in ranked[: _at_once(left)]:
            if not until(left):
                left, going = left - {one}, going - {one}
    return left


def _at_once(left: frozenset[str]) -> int:
    """How many go before losses are worked out anew: one, but of large fleets, where that would take seconds."""
    return 1 + len(left) // PART


def _loss(before: float, after: float) -> float:
    """What stops serving altogether is dropped last."""
    return before - after if after > 0 else float("inf")


def _filled(
    found: frozenset[str],
    machines: Iterable[str],
    fits: Callable[[frozenset[str]], bool],
    serves: Serves,
) -> frozenset[str]:
    """With every machine that there is still room for, the one that adds the most first."""
    while True:
        served = {one: serves(found | {one}) for one in sorted(set(machines) - found) if fits(found | {one})}
        best = max(served, key=served.__getitem__, default=None)
        if best is None or served[best] <= serves(found):
            return found
        found = found | {best}


def _trimmed(
    found: frozenset[str],
    droppable: Collection[str],
    usd_per_hour: Mapping[str, float],
    enough: Callable[[frozenset[str]], bool],
    serves: Serves,
) -> frozenset[str]:
    """Without all that can be spared, the most money for the loss first."""
    going = set(droppable)
    while spare := {one: serves(found - {one}) for one in going if enough(found - {one})}:
        now = serves(found)
        ranked = sorted(spare, key=lambda one: ((now - spare[one]) / usd_per_hour[one], -usd_per_hour[one], one))
        for one in ranked[: _at_once(found)]:
            if enough(found - {one}):
                found = found - {one}
        going = {one for one in spare if one in found}
    return found
