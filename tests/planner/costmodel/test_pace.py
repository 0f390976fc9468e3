"""The cost model against measurements that others published (see /facts of the project: Helix, one layer)."""

import numpy as np
import pytest

from planner.catalog import Link
from planner.deployment import Codec
from planner.gpus import gpu_named
from planner.models import llm_named
from planner.perfmodel import Pace, collective, kv_transfer_s, kv_wire_bytes, pace, wire_ratio

LLAMA, QWEN = llm_named("llama-30b"), llm_named("qwen3-32b")


def of(gpu: str, tp: int = 1, pp: int = 1, *, nvlink: bool = False, llm=LLAMA) -> Pace:
    return pace(llm, gpu_named(gpu), tp, pp, nvlink=nvlink)


@pytest.mark.parametrize(
    ("gpu", "tp", "measured_ms"),
    [("A100-SXM4-40GB", 1, 4.36), ("V100-SXM2-16GB", 1, 13.58), ("L4", 1, 20.19), ("L4", 2, 17.68), ("T4", 4, 20.18)],
)
def test_a_layer_prefills_a_thousand_tokens_as_fast_as_helix_measured(gpu, tp, measured_ms):
    """Over PCIe, a second L4 makes prefill only 14 % faster: the all-reduce is not optional."""
    found = of(gpu, tp)
    per_layer_ms = (found.prefill_s(1000.0) - found.fixed_s) / LLAMA.layers * 1e3
    assert per_layer_ms == pytest.approx(measured_ms, rel=0.08)


@pytest.mark.parametrize(
    ("gpu", "tp", "measured_ms"),
    [("A100-SXM4-40GB", 1, 0.9), ("V100-SXM2-16GB", 1, 1.8), ("L4", 1, 4.5), ("L4", 2, 2.4), ("T4", 1, 4.7)],
)
def test_a_layer_decodes_two_sequences_as_fast_as_helix_measured(gpu, tp, measured_ms):
    found = of(gpu, tp)
    per_layer_ms = (found.decode_step_s(2.0, 2 * 870.0) - 0.003) / LLAMA.layers * 1e3
    assert per_layer_ms == pytest.approx(measured_ms, rel=0.12)


def test_tensor_parallelism_over_pcie_helps_decode_but_hardly_prefill():
    one, four = of("T4"), of("T4", tp=4)
    assert one.prefill_s(1000.0) / four.prefill_s(1000.0) < 2.3
    assert one.decode_step_s(2.0, 1740.0) / four.decode_step_s(2.0, 1740.0) > 3.0


def test_nvlink_restores_prefill_scaling():
    assert of("A100-SXM4-40GB", 4, nvlink=True).prefill_s(2048.0) < of("A100-SXM4-40GB", 4).prefill_s(2048.0) / 2


def test_a_bridge_joins_two_cards_only():
    gpu = gpu_named("A6000")
    assert collective(gpu, 2, nvlink=True) != collective(gpu, 2, nvlink=False)
    assert collective(gpu, 4, nvlink=True) == collective(gpu, 4, nvlink=False)


def test_no_pass_is_faster_than_the_hardware_allows():
    for gpu in ("A40", "H100-SXM5-80GB", "L40S"):
        card, found = gpu_named(gpu), of(gpu, llm=QWEN)
        assert found.prefill_s(2048.0) > 2 * QWEN.layers * QWEN.layer_parameters * 2048 / (card.fp16_tflops * 1e12)
        assert found.decode_step_s(1.0, 1.0) > QWEN.weight_bytes / 1.05 / (card.memory_gb_per_s * 1e9)


def test_a_bigger_batch_reads_the_weights_once():
    found = of("H100-SXM5-80GB", llm=QWEN)
    assert found.decode_step_s(32.0, 32 * 1000.0) < 1.3 * found.decode_step_s(1.0, 1000.0)


def test_a_chunked_step_costs_more_than_a_decode_step_and_less_than_both_passes():
    found = of("H100-SXM5-80GB", llm=QWEN)
    step, chunk = found.decode_step_s(16.0, 16_000.0), found.prefill_s(2048.0)
    assert max(step, chunk) < found.chunked_step_s(16.0, 16_000.0) < step + chunk


def test_a_pipeline_keeps_the_latency_and_multiplies_the_rate():
    one, four = of("A100-SXM4-40GB", llm=QWEN), of("A100-SXM4-40GB", pp=4, llm=QWEN)
    assert four.prefill_s(2000.0) == pytest.approx(one.prefill_s(2000.0), rel=0.1)
    assert four.prefill_interval_s(2000.0) == pytest.approx(four.prefill_s(2000.0) / 4)


def test_arrays_and_numbers_give_the_same():
    found = of("A40", 2)
    lengths = np.array([10.0, 100.0, 3000.0])
    assert found.prefill_s(lengths).tolist() == [found.prefill_s(length) for length in (10.0, 100.0, 3000.0)]


@pytest.mark.parametrize(("codec", "ratio"), [(Codec.RAW, 1.0), (Codec.INT8, 1.94), (Codec.INT4, 3.2)])
def test_codecs_shrink_kv_as_the_wire_format_does(codec, ratio):
    assert wire_ratio(llm_named("llama-3.1-8b"), codec) == pytest.approx(ratio, rel=0.01)


def test_a_model_of_few_layers_gains_less_from_int4_as_its_ends_travel_in_int8():
    assert wire_ratio(llm_named("tiny-llama"), Codec.INT4) < wire_ratio(QWEN, Codec.INT4) < 3.56


def test_a_hop_is_latency_bytes_and_packing():
    link = Link(bandwidth_gbit_per_s=10.0, latency_ms=20.0)
    raw = kv_transfer_s(link, 1000.0, QWEN, Codec.RAW)
    assert raw == pytest.approx(0.02 + 1000 * 262_144 * 8 / 10e9)
    assert kv_transfer_s(link, 1000.0, QWEN, Codec.INT4) < raw
    assert kv_transfer_s(link, 1000.0, QWEN, Codec.LOCAL) == 0.0
    assert kv_wire_bytes(QWEN, 1000.0, Codec.LOCAL) == 0.0
