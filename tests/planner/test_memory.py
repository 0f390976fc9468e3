import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.gpus import gpu_named
from planner.memory import GIB, StageMemory, even_layers, kv_capacity_tokens, stage_weight_bytes
from planner.models import llm_named

QWEN, LLAMA, TINY = llm_named("qwen3-32b"), llm_named("llama-30b"), llm_named("tiny-llama")


def room(llm, gpu: str, tp: int = 1, pp: int = 1) -> int:
    stages = [StageMemory(layers, gpu_named(gpu).memory_gib) for layers in even_layers(llm.layers, pp)]
    return kv_capacity_tokens(llm, tp, stages)


def test_a_32b_model_needs_an_80_gb_card_or_several_smaller_ones():
    assert room(QWEN, "A100-SXM4-40GB") == 0
    assert room(QWEN, "H100-SXM5-80GB") > 8192
    assert room(QWEN, "A6000", tp=2) > room(QWEN, "A40", tp=2) > 8192


def test_weights_kv_overhead_and_activations_fill_the_memory_and_no_more():
    tokens = room(QWEN, "H100-SXM5-80GB")
    used = QWEN.weight_bytes + tokens * QWEN.kv_bytes_per_token
    assert 0.85 * 0.9 * 79.1 * GIB < used < 0.9 * 79.1 * GIB


def test_kv_heads_are_split_over_gpus_and_then_copied():
    """8 KV heads on 16 GPUs: each holds one, so twice as many GPUs as on 8 hold no more tokens a byte."""
    free_per_gpu = [room(QWEN, "A100-SXM4-80GB", tp=tp) / tp for tp in (4, 8, 16)]
    assert free_per_gpu[0] == pytest.approx(free_per_gpu[1], rel=0.15)
    assert free_per_gpu[2] < 0.6 * free_per_gpu[1]


def test_the_tightest_stage_decides():
    even = [StageMemory(32, 47.4), StageMemory(32, 47.4)]
    uneven = [StageMemory(32, 47.4), StageMemory(32, 44.9)]
    assert kv_capacity_tokens(QWEN, 1, uneven) < kv_capacity_tokens(QWEN, 1, even)


def test_a_multi_head_model_holds_far_fewer_tokens():
    assert room(LLAMA, "A6000", tp=2) * 4 < room(QWEN, "A6000", tp=2)


def test_a_tied_embedding_is_held_once_by_one_stage_and_by_both_ends_of_a_pipeline():
    whole = stage_weight_bytes(TINY, 1, 8, first=True, last=True)
    ends = stage_weight_bytes(TINY, 1, 4, first=True, last=False) + stage_weight_bytes(
        TINY, 1, 4, first=False, last=True
    )
    assert ends - whole == TINY.vocabulary * TINY.hidden * 2


@given(st.integers(1, 100), st.integers(1, 16))
def test_layers_are_shared_out_whole_and_evenly(layers, stages):
    shares = even_layers(layers, stages)
    assert (sum(shares), len(shares)) == (layers, stages)
    assert max(shares) - min(shares) <= 1
