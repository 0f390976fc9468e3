"""DistServe (OSDI 2024): prefill and decode on replicas of their own, all on GPUs of one type.

Every pair of a size for prefill and one for decode is tried, and procurement finds how many replicas of each there
should be on which instances: on one, as DistServe does where machines are joined slowly, if KV would not get out.
"""

from planner.baselines.pools import homogeneous
from planner.baselines.rules import Inside
from planner.baselines.setting import Setting
from planner.choosing.candidate import Candidate
from planner.deployment import Phase
from planner.parallel.rules import Ruled


def distserve(setting: Setting) -> list[Candidate]:
    """The best of all types and, for each phase, numbers of GPUs, each in its best TP x PP."""
    return homogeneous(setting, Ruled(setting.capacities, Inside()), (Phase.PREFILL, Phase.DECODE))
