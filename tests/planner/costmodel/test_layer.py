"""One layer against what Helix and Vidur measured, restated here; and the shape of its parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.costmodel.coefficients import GRAPHS, fitted
from planner.costmodel.collectives import inside
from planner.costmodel.layer import LayerCost, layer_cost, longer, shorter, whole_tiles, with_overlap
from planner.gpus import gpu_named
from planner.models import llm_named

KNOWN = fitted()


def layer(gpu: str, tp: int = 1, model: str = "llama-30b", engine: str = "vllm-0.4.0") -> LayerCost:
    card = gpu_named(gpu)
    link = inside(card, tp, KNOWN.constants, nvlink=False) if tp > 1 else None
    return layer_cost(llm_named(model), card, tp, link=link, engine=KNOWN.engine(engine), constants=KNOWN.constants)


@pytest.mark.parametrize(
    ("gpu", "tp", "measured_ms"),
    [("A100-SXM4-40GB", 1, 4.36), ("V100-SXM2-16GB", 1, 13.58), ("L4", 1, 20.19), ("L4", 2, 17.68), ("T4", 4, 20.18)],
)
def test_a_thousand_more_prompt_tokens_cost_what_helix_measured(gpu, tp, measured_ms):
    found = layer(gpu, tp)
    slope = found.total_s(4096.0, 4096.0 * 750, 0.0) - found.total_s(2048.0, 2048.0 * 750, 0.0)
    assert slope / 2.048 * 1e3 == pytest.approx(measured_ms, rel=0.15)


@pytest.mark.parametrize(
    ("gpu", "tp", "measured_ms"),
    [("A100-SXM4-40GB", 1, 0.9), ("V100-SXM2-16GB", 1, 1.8), ("L4", 1, 4.5), ("L4", 2, 2.4), ("T4", 1, 4.7)],
)
def test_two_sequences_decode_as_fast_as_helix_measured(gpu, tp, measured_ms):
    assert layer(gpu, tp).total_s(2.0, 0.0, 2 * 870.0) * 1e3 == pytest.approx(measured_ms, rel=0.1)


@pytest.mark.parametrize(
    ("gpu", "tp", "tokens", "measured_ms"),
    [
        *(("A100-SXM4-80GB", 1, tokens, ms) for tokens, ms in ((8, 0.8895), (256, 1.698), (4096, 23.65))),
        *(("A40", 8, tokens, ms) for tokens, ms in ((8, 0.359), (256, 0.54), (4096, 6.083))),
    ],
)
def test_matrices_take_what_vidur_measured(gpu, tp, tokens, measured_ms):
    """CodeLlama-34B; the shards of TP 8 on one card, without communication."""
    found = layer_cost(
        llm_named("codellama-34b"),
        gpu_named(gpu),
        tp,
        link=None,
        engine=KNOWN.engine(GRAPHS),
        constants=KNOWN.constants,
    )
    assert found.matrices_s(float(tokens)) * 1e3 == pytest.approx(measured_ms, rel=0.12)


def test_matrix_kernels_work_in_whole_tiles_and_few_tokens_in_pieces_of_sixteen():
    counts = {0.0: 0, 1.0: 16, 17.0: 32, 64.0: 64, 65.0: 128, 128.0: 128, 129.0: 256, 256.0: 256}
    assert {tokens: whole_tiles(tokens, 128.0) for tokens in counts} == counts
    assert whole_tiles(3.0, 1.0) == 3.0
    assert layer("A40").matrices_s(129.0) == layer("A40").matrices_s(256.0)


def test_a_window_leaves_what_the_model_says_it_does():
    mistral, tokens = llm_named("mistral-7b-v0.1"), 8192.0
    found, window = layer("A40", model="mistral-7b-v0.1"), mistral.window
    pairs, context = found.seen(tokens, tokens**2, 4.0, 4 * 20_000.0)
    assert pairs == pytest.approx(tokens**2 - (tokens - window) ** 2)
    assert context == pytest.approx(4 * mistral.attended(20_000.0)) == pytest.approx(4 * window)
    assert found.seen(1000.0, 1e6, 4.0, 4000.0) == pytest.approx((1e6, 4000.0))
    assert found.seen(0.0, 0.0, 0.0, 0.0) == pytest.approx((0.0, 0.0))


def test_overlap_lies_between_one_after_the_other_and_the_longer_one():
    assert with_overlap(3.0, 4.0, 1.0) == pytest.approx(7.0)
    assert with_overlap(3.0, 4.0, 2.0) == pytest.approx(5.0)
    assert with_overlap(3.0, 4.0, 60.0) == pytest.approx(4.0)


@pytest.mark.parametrize("model", ["llama-30b", "qwen3-30b-a3b", "gemma-2-9b"])
@given(tokens=st.floats(0, 1e5), pairs=st.floats(0, 1e10), context=st.floats(0, 1e7))
def test_the_parts_of_a_layer_make_the_whole(model, tokens, pairs, context):
    found = layer("L4", 2, model)
    parts = (found.matrices_s(tokens), found.attention_s(pairs, context), found.elementwise_s(tokens))
    assert found.total_s(tokens, pairs, context) == pytest.approx(sum(parts) + found.collectives_s(tokens), rel=1e-9)


@given(a=st.floats(0, 1e9), b=st.floats(0, 1e9))
def test_the_longer_and_the_shorter_of_two_are_what_they_are_but_for_rounding(a, b):
    rounding = 1e-15 * max(a, b)
    assert longer(a, b) == pytest.approx(max(a, b), abs=rounding)
    assert shorter(a, b) == pytest.approx(min(a, b), abs=rounding)
    for of in (longer, shorter):
        assert of(np.array([a]), b).tolist() == [of(a, b)]


def test_an_old_engine_reads_shared_kv_heads_more_than_once():
    """Llama-2-70B has 8 query heads to a KV head; without sharing there is nothing to read again."""
    old, new = (layer("L4", model="llama-2-70b", engine=engine) for engine in ("vllm-0.4.0", GRAPHS))
    assert old.context_s > 1.5 * new.context_s
    assert layer("L4").context_s == layer("L4", engine=GRAPHS).context_s


def test_a_card_with_little_power_stays_below_its_rated_speed():
    """The L4 is sold with 72 W: Helix got 53 of its 121 TFLOP/s."""
    tokens = 8192.0
    flops = 2 * llm_named("llama-30b").layer_parameters * tokens
    assert 45e12 < flops / layer("L4").matrices_s(tokens) < 65e12


def test_a_bridge_joins_two_cards_only():
    gpu = gpu_named("A6000")
    two, four = (inside(gpu, count, KNOWN.constants, nvlink=True) for count in (2, 4))
    assert two.bytes_per_s > 5 * four.bytes_per_s
    assert four == inside(gpu, 4, KNOWN.constants, nvlink=False)
