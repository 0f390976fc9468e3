"""The search: what to rent and how to use it, so that goodput is most for a budget, or cost least for a rate.

Procurement proposes, tabu search refines, orchestration pairs, simulation judges. The other way to use the same
instances, colocated or split, is judged too and the better one wins, so that a plan never loses to the one it would
replace.
"""

from dataclasses import replace

from planner.choosing.bounding import bounding
from planner.choosing.contest import Finding, best_use
from planner.choosing.finalists import KEPT, finalists_of
from planner.choosing.notches import notch_above
from planner.choosing.search import Search
from planner.procurement.shop import Choice
from planner.search.score import Aim

MARGINS = (0.85, 0.9, 0.95, 1.0, 1.1, 1.25, 1.5, 2.0)
"""Times the asked rate that is planned for, in turn, until simulation confirms the asked rate."""


def most_goodput(search: Search, choice: Choice) -> Finding | None:
    """The best use of the budget; None if it buys nothing that serves."""
    bound = bounding(search, choice, search.budget_usd_per_hour)
    finalists = finalists_of(search, choice, Aim(search.budget_usd_per_hour), bound)
    if not finalists:
        return None
    found = best_use(search, choice, finalists, among_rivals=True)
    return replace(found, bound_rps=bound.wait().rps)


def least_cost(search: Search, choice: Choice, rate_rps: float) -> Finding | None:
    """The cheapest use of at most the budget that simulation confirms at the rate; None if there is none."""
    for margin in MARGINS:
        finalists = finalists_of(search, choice, Aim(search.budget_usd_per_hour, rate_rps * margin), None)
        if not finalists or finalists[0].pairing.served_rps < rate_rps * margin * KEPT:
            return None
        cheapest = finalists[0]
        search.progress(f"{cheapest.usd_per_hour:.2f} $/h for {rate_rps * margin:.1f} requests/s")
        if found := _confirmed(search, best_use(search, choice, finalists[:1]), rate_rps):
            pairing = found.chosen.pairing
            whole = found.chosen.usd_per_hour + pairing.served_rps * pairing.transfer_usd_per_hour_per_rps
            return replace(found, bound_rps=bounding(search, choice, whole).wait().rps)
    return None


def _confirmed(search: Search, finding: Finding, rate_rps: float) -> Finding | None:
    """The finding if it sustains the rate, which may lie between two notches."""
    if finding.goodput_rps >= rate_rps:
        return finding
    trial = search.trial(finding.chosen)
    if rate_rps > notch_above(finding.goodput_rps) or not (trial.attains(rate_rps) and trial.sustains(rate_rps)):
        return None
    return replace(finding, goodput_rps=rate_rps, measures=trial.sustained(rate_rps).measures)
