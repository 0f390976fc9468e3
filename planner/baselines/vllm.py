"""vLLM as most people run it: every replica does both phases, prompts in chunks, all replicas alike on one GPU type."""

from planner.baselines.pools import homogeneous
from planner.baselines.rules import Inside
from planner.baselines.setting import Setting
from planner.choosing.candidate import Candidate
from planner.deployment import Phase
from planner.parallel.rules import Ruled


def vllm(setting: Setting) -> list[Candidate]:
    """The best of all types and numbers of GPUs, each in its best TP x PP."""
    return homogeneous(setting, Ruled(setting.capacities, Inside()), (Phase.MIXED,))
