from dataclasses import replace

import pytest

from planner.models import llm_named
from planner.parallel.degrees import MOST_STAGES, degrees, heads_split


@pytest.mark.parametrize(
    ("model", "splits"),
    [("llama-30b", {1, 2, 4}), ("qwen2.5-7b", {1, 2, 4}), ("qwen3-8b", {1, 2, 4, 8, 16, 32})],
)
def test_tensor_parallelism_splits_the_heads_and_splits_or_copies_the_kv_heads(model, splits):
    """52 heads; 28 heads with 4 KV heads; 32 heads with 8 KV heads, of which 16 GPUs hold each twice."""
    assert {tp for tp in range(1, 65) if heads_split(llm_named(model), tp)} == splits


def test_degrees_use_all_gpus_and_each_stage_lies_on_one_instance():
    assert list(degrees(llm_named("qwen3-8b"), 4)) == [(1, 4), (2, 2), (4, 1)]
    assert list(degrees(llm_named("qwen3-8b"), 4, places=2)) == [(1, 8), (2, 4), (4, 2)]
    assert list(degrees(llm_named("qwen3-8b"), 3, places=2)) == [(1, 6)]


def test_no_pipeline_is_longer_than_the_longest_or_than_the_layers():
    assert all(pp <= MOST_STAGES for _, pp in degrees(llm_named("qwen3-8b"), 8, places=2))
    assert list(degrees(replace(llm_named("qwen3-8b"), layers=3), 4)) == [(2, 2), (4, 1)]
