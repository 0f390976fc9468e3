"""What people do by hand: the GPU type with the least $ for each request/s, as many of it as the budget buys.

Every replica has the layout of the first command line that works: no pipeline, and the smallest TP that serves at all.
A type counts by what the whole budget buys of it, as a cheap one of which there is a single GPU helps nobody.
"""

from planner.baselines.pools import homogeneous
from planner.baselines.rules import Inside
from planner.baselines.setting import Setting
from planner.choosing.candidate import Candidate
from planner.deployment import Phase
from planner.parallel.rules import Flat


def cheapest_type(setting: Setting) -> list[Candidate]:
    """That type, as much as the budget buys; where the whole fleet is given, each type in its own layout."""
    return homogeneous(setting, Flat(setting.capacities, Inside()), (Phase.MIXED,), smallest=True)[:1]
