"""Splits against all splits there are."""

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.memory import StageMemory, even_layers, kv_capacity_tokens
from planner.models import llm_named
from planner.parallel.layers import least_worst_split, room_tokens

LAYERS = 9


def all_splits(layers: int, stages: int) -> Iterator[tuple[int, ...]]:
    for cuts in combinations(range(1, layers), stages - 1):
        yield tuple(b - a for a, b in pairwise((0, *cuts, layers)))


def worst(costs: np.ndarray, split: tuple[int, ...]) -> float:
    return max(costs[i, layers - 1] for i, layers in enumerate(split))


rising = st.lists(st.floats(0.0, 9.0), min_size=LAYERS, max_size=LAYERS).map(lambda steps: np.cumsum(steps).tolist())
tables = st.lists(st.tuples(rising, st.integers(0, LAYERS)), min_size=1, max_size=4)


@given(tables)
def test_no_split_has_a_better_worst_stage(stages):
    """Each stage's cost rises with its layers, and is infinite beyond what it has memory for."""
    costs = np.array([row for row, _ in stages])
    for row, (_, most) in zip(costs, stages, strict=True):
        row[most:] = np.inf
    best = min(worst(costs, split) for split in all_splits(LAYERS, len(stages)))
    found = least_worst_split(costs, LAYERS)
    if found is None:
        assert best == np.inf
    else:
        assert sum(found) == LAYERS
        assert worst(costs, found) == pytest.approx(best)


@given(st.integers(1, 8), st.integers(8, 80))
def test_equal_stages_are_split_evenly(stages, layers):
    assert least_worst_split(np.tile(np.arange(layers), (stages, 1)), layers) == even_layers(layers, stages)


def test_layers_go_in_proportion_to_speed():
    """Three times as fast: three times the layers."""
    speeds = np.array([3.0, 1.0])
    assert least_worst_split(np.outer(1 / speeds, np.arange(1, 41)), 40) == (30, 10)


def test_more_stages_than_layers_cannot_be():
    assert least_worst_split(np.ones((4, 3)), 3) is None


@pytest.mark.parametrize("split", [(20, 16), (10, 26), (35, 1)])
def test_room_is_what_memory_says_of_every_split(split):
    llm, memories = llm_named("qwen3-8b"), (47.4, 23.6)
    room = room_tokens(llm, 1, memories)
    stages = [StageMemory(layers, memory) for layers, memory in zip(split, memories, strict=True)]
    tightest = min(room[i, layers - 1] for i, layers in enumerate(split))
    assert max(0, int(tightest)) == kv_capacity_tokens(llm, 1, stages)
