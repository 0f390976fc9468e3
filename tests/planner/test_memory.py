import csv
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.gpus import gpu_named
from planner.memory import GIB, UTILISATION, StageMemory, even_layers, kv_capacity_tokens, stage_weight_bytes
from planner.models import llm_named

QWEN, LLAMA, TINY = llm_named("qwen3-32b"), llm_named("llama-30b"), llm_named("tiny-llama")
EXPERTS = llm_named("qwen3-30b-a3b")
OPT = replace(llm_named("opt-66b"), name="opt-175b", layers=96, hidden=12288, intermediate=49152, heads=96, kv_heads=96)
MEASURED = Path(__file__).parents[3] / "shared" / "data" / "measured" / "distserve_max_num_tokens.csv"


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


def test_experts_take_room_whether_a_token_passes_them_or_not():
    """30 B parameters in 16 bits need two 40 GB cards; as 3 B active ones they would fit one."""
    assert room(EXPERTS, "A100-SXM4-40GB") == 0
    assert room(EXPERTS, "A100-SXM4-40GB", tp=2) > 50_000


def test_mxfp4_experts_leave_a_20b_model_room_on_one_24_gb_card():
    assert room(llm_named("gpt-oss-20b"), "RTX 4090") > 100_000
    assert room(llm_named("gpt-oss-20b", "bfloat16"), "RTX 4090") == 0


def test_a_short_stage_has_room_for_more_than_a_long_one():
    memory = gpu_named("A6000").memory_gib
    even = kv_capacity_tokens(QWEN, 2, [StageMemory(32, memory), StageMemory(32, memory)])
    uneven = kv_capacity_tokens(QWEN, 2, [StageMemory(24, memory), StageMemory(40, memory)])
    alone = kv_capacity_tokens(QWEN, 2, [StageMemory(40, memory), StageMemory(24, 10 * memory)])
    assert uneven < even
    assert uneven == pytest.approx(alone, rel=0.01)


def test_learned_positions_are_held_by_every_gpu_of_the_first_stage():
    opt = llm_named("opt-66b")
    first = stage_weight_bytes(opt, 8, 32, first=True, last=False)
    last = stage_weight_bytes(opt, 8, 32, first=False, last=True)
    assert first - last == 2050 * 9216 * 2


def test_a_stage_holds_its_share_of_all_weights():
    for llm in (QWEN, EXPERTS, llm_named("gpt-oss-120b")):
        held = 4 * stage_weight_bytes(llm, 4, llm.layers, first=True, last=True)
        assert held == pytest.approx(llm.weight_bytes, rel=1e-5)


@pytest.mark.skipif(not MEASURED.exists(), reason="shared data not beside the project")
def test_capacity_agrees_with_what_distserve_states_for_opt_on_a100_80_gb():
    """At its 0.95 of the memory. It takes off 1 % of it and no activations; we 1 GiB and those of a batch.

    That is up to 3 % of a card: little of the tokens in most layouts, more where weights fill nearly all of it.
    """
    memory = gpu_named("A100-SXM4-80GB").memory_gib
    opts = {
        "facebook/opt-13b": llm_named("opt-13b"),
        "facebook/opt-66b": llm_named("opt-66b"),
        "facebook/opt-175b": OPT,
    }
    shares, fewer = [], []
    for row in csv.DictReader(MEASURED.read_text().splitlines()):
        llm, tp, pp, stated = opts[row["model"]], int(row["tp"]), int(row["pp"]), int(row["max_num_tokens"])
        if llm.heads % tp:
            continue
        stages = [StageMemory(layers, memory * 0.95 / UTILISATION) for layers in even_layers(llm.layers, pp)]
        found = kv_capacity_tokens(llm, tp, stages)
        fewer.append(1 - found / stated)
        shares.append((stated - found) * llm.kv_bytes_per_token / (memory * GIB * tp * pp))
    assert len(shares) == 76
    assert 0 <= min(shares) <= max(shares) < 0.03
    assert median(fewer) < 0.01


@given(st.integers(1, 100), st.integers(1, 16))
def test_layers_are_shared_out_whole_and_evenly(layers, stages):
    shares = even_layers(layers, stages)
    assert (sum(shares), len(shares)) == (layers, stages)
    assert max(shares) - min(shares) <= 1
