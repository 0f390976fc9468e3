"""HexGen (ICML 2024): every replica does both phases, in groups of any TP x PP and over unlike GPUs.

HexGen looks for the groups by a genetic search; here the planner's own search does, from what procurement buys and
from what the packing of `helix.py` finds, with groups over several instances among its moves and no phase but mixed.
"""

from planner.baselines.helix import helix
from planner.baselines.setting import FINALISTS, Setting, best_few
from planner.baselines.starts import starts
from planner.choosing.candidate import Candidate
from planner.parallel.rules import Colocated, Ruled
from planner.procurement.shop import Choice
from planner.search.packings import Packings
from planner.search.score import Aim, Scorer
from planner.search.start import mixed
from planner.search.starts import Limits, Terms, best_from
from planner.search.state import State, canonical

LIMITS = Limits(seconds=3.0)


def hexgen(setting: Setting) -> list[Candidate]:
    """The best few groupings that the search finds."""
    capacities = Ruled(setting.capacities, Colocated())
    choice = setting.choice(capacities)
    aim = Aim(setting.budget_usd_per_hour)
    terms = Terms(capacities, choice.offers, setting.links, setting.fixed, aim, LIMITS, setting.seed)
    scorer = terms.scorer()
    outcome = best_from(terms, scorer, _starts(setting, scorer, choice))
    distinct = {canonical(scorer.supply, visit.state): visit.state for visit in reversed(outcome.visits)}
    return best_few(setting.search.settled(scorer.ratings, state) for state in list(distinct.values())[-FINALISTS:])


def _starts(setting: Setting, scorer: Scorer, choice: Choice) -> list[State]:
    """What procurement buys, the same instances filled anew, and the pipelines that carry the most over networks."""
    purchase = setting.bought(choice)
    formed = [setting.search.formed(choice, purchase)] if purchase else []
    states = starts(choice.offers, filter(None, [*formed, *helix(setting)]))
    rented = states[0].rented if states else scorer.supply.everything if setting.fixed else ()
    return [*states, mixed(Packings(scorer.ratings), rented)]
