"""Who wins: finalists and rivals simulated, and the other use of what the winner rents."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from planner.choosing.buying import LEAST_RATE_RPS, bought
from planner.choosing.candidate import Candidate
from planner.choosing.rivals import rivals_of
from planner.choosing.search import Search
from planner.deployment import Alternative, Phase
from planner.procurement.shop import Choice

WORTH = 0.005
"""What a rival must seem to serve more before it is looked at closely."""
COLOCATED, SPLIT = "colocated on the same instances", "split into prefill and decode on the same instances"


@dataclass(frozen=True, slots=True)
class Finding:
    """The winner and its simulated goodput, a bound on the score of all, and the ones it beat."""

    chosen: Candidate
    goodput_rps: float
    bound_rps: float
    alternatives: tuple[Alternative, ...] = ()


def best_use(
    search: Search,
    choice: Choice,
    finalists: Sequence[Candidate],
    bound_rps: float,
    rivals: Iterable[Candidate] = (),
) -> Finding:
    """The finalist or rival that simulation prefers, or the other use of what it rents if that is preferred to it."""
    chosen, goodput = finalists[0], 0.0
    for one in finalists:
        rps = search.goodput_rps(one, beyond_rps=goodput)
        search.progress(f"{rps:.1f} requests/s for {one.usd_per_hour:.2f} $/h")
        chosen, goodput = (one, rps) if rps > goodput else (chosen, goodput)
    for rival in rivals:
        if search.attains(rival, goodput * (1 + WORTH)):
            rps = search.goodput_rps(rival, beyond_rps=goodput)
            search.progress(f"{rps:.1f} requests/s for {rival.usd_per_hour:.2f} $/h, which the score underrates")
            chosen, goodput = (rival, rps) if rps > goodput else (chosen, goodput)
    other = _other_use(search, choice, chosen)
    if other is None:
        return Finding(chosen, goodput, bound_rps)
    other_goodput = search.goodput_rps(other, beyond_rps=goodput)
    search.progress(f"{other_goodput:.1f} requests/s {SPLIT if other.is_split else COLOCATED}")
    if other_goodput > goodput:
        chosen, goodput, other, other_goodput = other, other_goodput, chosen, goodput
    beaten = Alternative(SPLIT if other.is_split else COLOCATED, other_goodput, other.usd_per_hour)
    return Finding(chosen, goodput, bound_rps, (beaten,))


def rivals(search: Search, choice: Choice) -> Iterator[Candidate]:
    """What the budget buys of each rival choice, but for what it bought already."""
    if search.rent_all:
        return
    seen: set[bytes] = set()
    for rival in rivals_of(choice):
        purchase = bought(search, rival) if rival.serves else None
        key = purchase.key if purchase and purchase.served_rps > LEAST_RATE_RPS else b""
        if purchase and key and key not in seen and (formed := search.formed(rival, purchase)):
            yield formed
        seen.add(key)


def _other_use(search: Search, choice: Choice, chosen: Candidate) -> Candidate | None:
    """The same instances all mixed where the candidate is split, else all split; None if that is impossible."""
    others = choice.without(Phase.PREFILL, Phase.DECODE) if chosen.is_split else choice.without(Phase.MIXED)
    rented = Counter(instance.offer_id for instance in chosen.instances)
    copies = np.array([rented[offer.offer_id] for offer in choice.offers])
    same = replace(others, shop=replace(choice.shop, available=copies))
    other = bought(replace(search, rent_all=True), same)
    if other is None or other.served_rps < LEAST_RATE_RPS:
        return None
    return search.formed(same, other)
