"""The pace of a replica, in the small: what a pass costs, and what TP, PP, batches and prompts do to it."""

import numpy as np
import pytest

from planner.costmodel.pace import Pace, pace, pipeline_pace
from planner.gpus import gpu_named
from planner.llm import LlmSpec
from planner.models import llm_named
from tests.planner.paces import linear_pace

LLAMA, QWEN = llm_named("llama-30b"), llm_named("qwen3-32b")


def of(gpu: str, tp: int = 1, pp: int = 1, *, nvlink: bool = False, llm: LlmSpec = LLAMA) -> Pace:
    return pace(llm, gpu_named(gpu), tp, pp, nvlink=nvlink)


def test_tensor_parallelism_over_pcie_helps_decode_but_hardly_prefill():
    """Helix measured 2.1 and 3.4 for four T4: the all-reduce is not optional."""
    one, four = of("T4"), of("T4", tp=4)
    assert one.prefill_s(3000.0) / four.prefill_s(3000.0) < 2.4
    assert one.decode_step_s(2.0, 1740.0) / four.decode_step_s(2.0, 1740.0) > 2.9


def test_nvlink_restores_prefill_scaling():
    assert of("A100-SXM4-40GB", 4, nvlink=True).prefill_s(2048.0) < of("A100-SXM4-40GB", 4).prefill_s(2048.0) / 2


@pytest.mark.parametrize("name", ["qwen3-32b", "mixtral-8x7b", "gpt-oss-20b", "gemma-2-9b", "opt-66b"])
@pytest.mark.parametrize("gpu", ["A40", "H100-SXM5-80GB", "L40S"])
def test_no_pass_is_faster_than_the_hardware_allows(gpu, name):
    card, llm = gpu_named(gpu), llm_named(name, "bfloat16")
    found = pace(llm, card, 1, 1, nvlink=False)
    assert found.prefill_s(2048.0) > 2 * llm.layers * llm.active_layer_parameters * 2048 / (card.fp16_tflops * 1e12)
    read = llm.layers * llm.layer_bytes_read(1.0) + 2 * llm.vocabulary * llm.hidden
    assert found.decode_step_s(1.0, 1.0) > read / (card.memory_gb_per_s * 1e9)


def test_a_bigger_batch_reads_the_weights_once():
    found = of("H100-SXM5-80GB", llm=QWEN)
    assert found.decode_step_s(32.0, 32 * 1000.0) < 1.3 * found.decode_step_s(1.0, 1000.0)


def test_a_batch_of_an_expert_model_reads_more_experts_the_bigger_it_is():
    """One token of Qwen3-30B-A3B meets 8 of 128 experts, 64 tokens meet nearly all: the step grows several times."""
    found = of("H100-SXM5-80GB", llm=llm_named("qwen3-30b-a3b"))
    one, many = found.decode_step_s(1.0, 100.0), found.decode_step_s(64.0, 6400.0)
    assert 3 * one < many < 16 * one
    dense = of("H100-SXM5-80GB", llm=QWEN)
    assert many < dense.decode_step_s(64.0, 6400.0)


def test_a_prompt_of_an_expert_model_costs_what_its_active_weights_cost():
    mixture, dense = of("H100-SXM5-80GB", llm=llm_named("mixtral-8x7b")), of("H100-SXM5-80GB", llm=QWEN)
    ratio = mixture.prefill_s(8192.0) / dense.prefill_s(8192.0)
    assert ratio == pytest.approx(12.9 / 32.8, rel=0.3)


def test_a_sliding_window_bounds_what_decoding_attends_to():
    """Every other layer of Gemma 2 sees 4,096 tokens at most: beyond, context costs half as much."""
    found = of("H100-SXM5-80GB", llm=llm_named("gemma-2-9b"))
    inside = found.decode_step_s(16.0, 16 * 4000.0) - found.decode_step_s(16.0, 16 * 2000.0)
    beyond = found.decode_step_s(16.0, 16 * 8000.0) - found.decode_step_s(16.0, 16 * 6000.0)
    assert beyond == pytest.approx(inside / 2, rel=0.05)


def test_fp8_halves_what_is_read_and_computes_faster_where_the_card_can():
    bf16, fp8 = (of("H100-SXM5-80GB", llm=llm_named("qwen3-32b", dtype)) for dtype in ("bfloat16", "fp8"))
    assert 0.5 < fp8.decode_step_s(1.0, 100.0) / bf16.decode_step_s(1.0, 100.0) < 0.6
    assert 0.5 < fp8.prefill_s(8192.0) / bf16.prefill_s(8192.0) < 0.65
    old = [of("A100-SXM4-80GB", llm=llm_named("qwen3-32b", dtype)).prefill_s(8192.0) for dtype in ("bfloat16", "fp8")]
    assert old[1] == pytest.approx(old[0], rel=0.02)


def test_four_bit_weights_are_read_faster_and_computed_alike():
    bf16, int4 = (of("A40", llm=llm_named("qwen3-14b", dtype)) for dtype in ("bfloat16", "awq"))
    assert int4.decode_step_s(1.0, 100.0) < 0.45 * bf16.decode_step_s(1.0, 100.0)
    assert int4.prefill_s(8192.0) == pytest.approx(bf16.prefill_s(8192.0), rel=0.05)


def test_a_chunked_pass_costs_more_than_a_decode_step_and_less_than_both_passes():
    found = of("H100-SXM5-80GB", llm=QWEN)
    step, chunk = found.decode_step_s(16.0, 16_000.0), found.prefill_s(2048.0)
    assert max(step, chunk) < found.turn_s(16.0, 16_000.0, 2048.0, 2048.0**2) < step + chunk


def test_a_pipeline_keeps_the_latency_and_multiplies_the_rate():
    one, four = of("A100-SXM4-40GB", llm=QWEN), of("A100-SXM4-40GB", pp=4, llm=QWEN)
    assert four.pp == 4
    assert four.prefill_s(2000.0) == pytest.approx(one.prefill_s(2000.0), rel=0.1)
    assert four.prefill_interval_s(2000.0) == pytest.approx(four.prefill_s(2000.0) / 4, rel=0.05)


def test_the_slowest_stage_of_an_uneven_pipeline_sets_its_rate():
    even, uneven = (pipeline_pace(LLAMA, gpu_named("A40"), 1, layers, nvlink=False) for layers in ((30, 30), (45, 15)))
    assert uneven.prefill_s(2000.0) == pytest.approx(even.prefill_s(2000.0), rel=0.01)
    assert uneven.prefill_interval_s(2000.0) == pytest.approx(1.5 * even.prefill_interval_s(2000.0), rel=0.03)


@pytest.mark.parametrize("layers", [(15, 15, 15, 15), (16, 15, 15, 14), (60,)])
def test_a_pass_is_that_of_its_stages_one_by_one(layers):
    found = pipeline_pace(LLAMA, gpu_named("A40"), 1, layers, nvlink=False)
    load = {"tokens": 300.0, "pairs": 300.0**2, "batch": 7.0, "context": 9000.0}
    own_s = [stage.pass_s(**load) for stage, count in found.stages for _ in range(count)]
    hops_s = found.hops_s + found.hops_token_s * 307
    assert found.pass_s(**load) == pytest.approx(sum(own_s) + hops_s, rel=1e-12)
    assert found.slowest_s(**load) == pytest.approx(max(own_s), rel=1e-12)


def test_stages_whose_layers_differ_are_each_evaluated():
    slow, fast = linear_pace(token_s=0.003).stages[0][0], linear_pace(token_s=0.001).stages[0][0]
    mixed = Pace(((slow, 1), (fast, 2)))
    assert mixed.pass_s(0.0, 0.0, 100.0) == pytest.approx(0.3 + 2 * 0.1)
    assert mixed.slowest_s(0.0, 0.0, 100.0) == pytest.approx(0.3)


def test_a_turn_with_few_sequences_takes_the_way_through_all_stages():
    found = of("A100-SXM4-40GB", pp=4, llm=QWEN)
    assert found.turn_s(1.0, 1000.0) == pytest.approx(found.pass_s(1.0, 1000.0))
    assert found.turn_s(64.0, 64_000.0) == pytest.approx(4 * found.slowest_s(16.0, 16_000.0))


def test_arrays_and_numbers_give_the_same():
    for found in (of("A40", 2), of("A40", pp=3), of("H100-SXM5-80GB", llm=llm_named("qwen3-30b-a3b"))):
        lengths = np.array([10.0, 100.0, 3000.0])
        assert found.prefill_s(lengths).tolist() == pytest.approx([found.prefill_s(n) for n in (10.0, 100.0, 3000.0)])
        turn = found.turn_s(lengths, 50 * lengths, lengths, lengths**2)
        assert turn.tolist() == pytest.approx([found.turn_s(n, 50 * n, n, n * n) for n in (10.0, 100.0, 3000.0)])


def test_the_plain_pace_of_the_tests_is_plain():
    found = linear_pace(fixed_s=0.1, token_s=0.001, context_s=1e-6)
    assert found.turn_s(2.0, 1000.0, 98.0) == pytest.approx(0.1 + 0.1 + 0.001)
