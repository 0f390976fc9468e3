"""How many layers each stage of a pipeline holds.

By one measure (time of a pass, room for KV): the split in which the worst stage is as good as can be.
"""

from collections.abc import Sequence
from heapq import heapify, heapreplace
from typing import TypeAlias

import numpy as np

from planner.demand import Floats
from planner.llm import LlmSpec
from planner.memory import stage_kv_tokens

Split: TypeAlias = tuple[int, ...]
"""Layers of each stage, in the order of the pipeline."""


def least_worst_split(costs: Floats, layers: int) -> Split | None:
    """The split whose costliest stage costs least; None where every split costs infinitely much.

    `costs[i, n - 1]` is what stage i costs with n layers: never less with more of them, infinite where they don't fit.
    Then giving one layer after another to the stage that costs least with it is optimal: the last layer given to the
    costliest stage went there because any other would have cost as much. Among equals the first stages take more.
    """
    stages = len(costs)
    if layers < stages or not np.isfinite(costs[:, 0]).all():
        return None
    held, table = [1] * stages, costs.tolist()
    heap = [(table[i][1] if layers > 1 else np.inf, i) for i in range(stages)]
    heapify(heap)
    for _ in range(layers - stages):
        cost, i = heap[0]
        if cost == np.inf:
            return None
        held[i] += 1
        heapreplace(heap, (table[i][held[i]] if held[i] < layers else np.inf, i))
    return tuple(held)


def room_tokens(llm: LlmSpec, tp: int, memories_gib: Sequence[float]) -> Floats:
    """Tokens of KV that each stage (row) has room for with 1, 2, … layers (column); negative: weights don't fit."""
    layers = np.arange(1.0, llm.layers + 1)
    last = len(memories_gib) - 1
    return np.array(
        [
            stage_kv_tokens(llm, tp, layers, memory_gib, first=i == 0, last=i == last)
            for i, memory_gib in enumerate(memories_gib)
        ]
    )
