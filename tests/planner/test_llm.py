from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.llm import BYTES_PER_VALUE, LlmSpec
from planner.models import llm_named, models

DENSE = LlmSpec("dense", 4, 64, 256, 8, 2, 8, 1000, 2048)
EXPERTS = replace(DENSE, name="experts", intermediate=32, experts=16, active_experts=2, shared_intermediate=48)
WINDOWED = replace(DENSE, name="windowed", window=100, full_layers=1)
EVERY = st.sampled_from(list(models().values()))
TOKENS = st.floats(0, 1e5)


def test_a_layer_has_its_matrices_biases_and_norms():
    assert DENSE.attention_parameters == 2 * 64 * 64 + 2 * 64 * 16
    assert DENSE.mlp_parameters == 3 * 64 * 256
    assert DENSE.layer_parameters == DENSE.attention_parameters + DENSE.mlp_parameters + 2 * 64
    plain = replace(DENSE, gated=False, attention_bias=True, mlp_bias=True, positions=2050)
    assert plain.attention_parameters - DENSE.attention_parameters == 64 + 2 * 16
    assert plain.mlp_parameters == 2 * 64 * 256 + 256 + 64
    assert plain.embedding_parameters - DENSE.embedding_parameters == 2050 * 64


def test_a_token_passes_its_own_experts_the_shared_one_and_the_router():
    assert EXPERTS.mlp_parameters == 16 * 3 * 64 * 32 + 3 * 64 * 48 + 64 * 16
    assert EXPERTS.active_mlp_parameters == 2 * 3 * 64 * 32 + 3 * 64 * 48 + 64 * 16
    assert EXPERTS.parameters - EXPERTS.active_parameters == 4 * 14 * 3 * 64 * 32


def test_flops_are_two_per_active_weight_and_the_head_is_one_of_them():
    matrices = DENSE.layers * (DENSE.attention_parameters + DENSE.mlp_parameters)
    assert DENSE.flops_per_token == 2 * (matrices + 1000 * 64)
    assert replace(DENSE, tied_embeddings=True).flops_per_token == DENSE.flops_per_token
    assert llm_named("llama-3.1-8b").flops_per_token == pytest.approx(2 * 7.5e9, rel=0.01)


def test_a_pass_of_one_token_reads_its_experts_and_a_large_one_all():
    expert = 3 * 64 * 32 * 2
    idle = EXPERTS.layer_weight_bytes - EXPERTS.layer_bytes_read(1.0)
    assert idle == pytest.approx(14 * expert)
    assert EXPERTS.layer_bytes_read(1000.0) == pytest.approx(EXPERTS.layer_weight_bytes)
    assert EXPERTS.layer_bytes_read(0.0) == pytest.approx(EXPERTS.layer_weight_bytes - 16 * expert)
    assert DENSE.layer_bytes_read(1.0) == DENSE.layer_weight_bytes


@given(EVERY, TOKENS, TOKENS)
def test_more_tokens_read_more_and_never_more_than_there_is(llm, few, many):
    few, many = sorted((few, many))
    assert llm.layer_bytes_read(few) <= llm.layer_bytes_read(many) <= llm.layer_weight_bytes * (1 + 1e-9)


@given(EVERY, st.lists(TOKENS, min_size=1, max_size=5))
def test_arrays_are_taken_as_one_number_after_the_other(llm, tokens):
    for size in (llm.layer_bytes_read, llm.attended, llm.kv_bytes, llm.attention_flops):
        assert size(np.array(tokens)) == pytest.approx([size(one) for one in tokens])


def test_windows_cut_what_is_attended_to_and_kept():
    assert WINDOWED.windowed_layers == 3
    assert WINDOWED.attended(80.0) == 80
    assert WINDOWED.attended(500.0) == pytest.approx((1 * 500 + 3 * 100) / 4)
    assert WINDOWED.kv_bytes(500.0) == pytest.approx(WINDOWED.kv_bytes_per_token * 200)
    assert replace(WINDOWED, full_layers=0).attended(500.0) == 100
    assert DENSE.attended(500.0) == 500


@pytest.mark.parametrize("llm", [DENSE, WINDOWED])
def test_attention_flops_count_every_pair_that_is_attended_to(llm):
    """4 per pair, head and its dimension; a token's own place is half counted in n²/2."""
    pairs = sum(llm.attended(i + 0.5) for i in range(500)) * llm.layers
    assert llm.attention_flops(500.0) == pytest.approx(4 * llm.heads * llm.head_dim * pairs, rel=1e-4)


def test_kv_of_windows_cannot_be_moved():
    assert DENSE.kv_movable
    assert not WINDOWED.kv_movable


@pytest.mark.parametrize(
    ("dtype", "weight_only", "fp8"),
    [("bfloat16", False, False), ("fp8", False, True), ("awq", True, False), ("int4", True, False)],
)
def test_quantised_layers_keep_embeddings_in_16_bits(dtype, weight_only, fp8):
    llm = replace(DENSE, dtype=dtype)
    assert (llm.weight_only, llm.fp8) == (weight_only, fp8)
    layers = llm.layers * llm.layer_parameters * BYTES_PER_VALUE[dtype]
    assert llm.weight_bytes == round(layers + llm.embedding_parameters * 2)


def test_mxfp4_stores_only_experts_in_4_bits():
    mixed = replace(EXPERTS, dtype="mxfp4")
    experts = 16 * 3 * 64 * 32
    assert mixed.layer_weight_bytes == pytest.approx((mixed.layer_parameters - experts) * 2 + experts * 4.25 / 8)
    assert mixed.weight_only


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kv_heads": 3}, "8 heads on 3 KV heads; expected a multiple"),
        ({"dtype": "int3"}, "dtype int3; expected one of"),
        ({"dtype": "mxfp4"}, "no experts; expected experts"),
        ({"experts": 4}, "0 active experts of 4; expected"),
        ({"experts": 4, "active_experts": 5}, "5 active experts of 4; expected"),
        ({"active_experts": 1}, "1 active experts of 0; expected"),
        ({"full_layers": 2}, "2 of 4 layers with full attention and a window of 0"),
        ({"window": 8, "full_layers": 4}, "4 of 4 layers with full attention"),
    ],
)
def test_shapes_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(DENSE, **change)
