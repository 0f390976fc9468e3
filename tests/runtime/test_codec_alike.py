"""The three implementations of the codecs give the same bytes and the same values, whatever the KV."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from runtime.codec import compiled, loops, reference
from runtime.codec.protocol import TORCH_DTYPE, CannotEncode
from runtime.codec.sections import sections
from runtime.tiles.geometry import Geometry, Parts, payload_bytes
from tests.runtime.interpreting import Interpreted

pytestmark = pytest.mark.engine_env

DTYPES = ("float16", "bfloat16")
HEADS = (32, 40, 64, 80, 96, 128, 192, 256)
"""Values a head: those of models, and one that divides into nothing neat."""
SPLITS = st.one_of(
    st.builds(Parts, st.just(0), st.integers(1, 64), st.just(0)),
    st.sampled_from([Parts(0, 0, 64), Parts(0, 16, 48)]),
)
BITS = st.integers(0, (1 << 16) - 1)


@pytest.fixture(scope="module", autouse=True)
def _warm():
    compiled.warm_up()


@pytest.fixture(scope="module")
def interpreted():
    made = Interpreted()
    yield made
    made.close()


def kv_of(bits, dtype):
    """K and V out of numbers of 16 bits, whatever values these are in the dtype."""
    keys, values = torch.from_numpy(bits).view(TORCH_DTYPE[dtype])
    return keys, values


def outcome(codec, geometry, parts, keys, values):
    """The payload, or None where the codec refuses."""
    try:
        return codec.encode_tiles(geometry, parts, keys, values)
    except CannotEncode:
        return None


def assert_alike(codec, dtype, parts, keys, values):
    geometry = Geometry(1, 1, keys.shape[-1], dtype)
    expected = outcome(reference, geometry, parts, keys, values)
    payload = outcome(codec, geometry, parts, keys, values)
    if expected is None or payload is None:
        assert expected is payload
        return
    assert torch.equal(payload, expected)
    restored = codec.decode_tiles(geometry, parts, expected)
    for part, known in zip(restored, reference.decode_tiles(geometry, parts, expected), strict=True):
        assert torch.equal(part.view(torch.int16), known.view(torch.int16))
        assert part.isfinite().all()


@st.composite
def tiles(draw, *, most_tiles):
    """A split and K and V of some tiles: bits of all kinds, NaN and infinities left out."""
    parts, dim, dtype = draw(SPLITS), draw(st.sampled_from(HEADS)), draw(st.sampled_from(DTYPES))
    shape = (2, draw(st.integers(1, most_tiles)), sum(parts), dim)
    few = draw(st.lists(BITS.filter(finite(dtype)), min_size=1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    kind = draw(st.sampled_from(["bits", "few", "gauss", "tiny", "zeros"]))
    if kind == "few":
        return dtype, parts, *kv_of(rng.choice(np.array(few, np.uint16), shape), dtype)
    if kind == "bits":
        exponents = 0x7C00 if dtype == "float16" else 0x7F80
        bits = rng.integers(0, 1 << 16, shape).astype(np.uint16)
        return dtype, parts, *kv_of(np.where(bits & exponents == exponents, bits ^ 0x4000, bits), dtype)
    scale, offset = {"gauss": (1.0, 30.0), "tiny": (1e-7, 3e-7), "zeros": (-0.0, -0.0)}[kind]
    made = torch.from_numpy(rng.standard_normal(shape) * scale + rng.standard_normal(shape[-1]) * offset)
    return dtype, parts, *made.to(TORCH_DTYPE[dtype])


def finite(dtype):
    exponents = 0x7C00 if dtype == "float16" else 0x7F80
    return lambda bits: bits & exponents != exponents


@settings(max_examples=150)
@given(made=tiles(most_tiles=4))
def test_the_compiled_loops_are_the_reference_bit_for_bit(made):
    assert_alike(compiled, *made)


@settings(max_examples=40)
@given(made=tiles(most_tiles=2))
def test_the_kernels_of_gpus_are_the_reference_bit_for_bit(interpreted, made):
    assert_alike(interpreted, *made)


@settings(max_examples=40)
@given(
    dtype=st.sampled_from(DTYPES),
    bits=arrays.arrays(np.uint16, (2, 2, 64, 64), elements=BITS, fill=st.just(np.uint16(0))),
)
def test_the_compiled_loops_refuse_what_the_reference_refuses(dtype, bits):
    assert_alike(compiled, dtype, Parts(0, 16, 48), *kv_of(bits, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf"), 1e38, -1e38])
@pytest.mark.parametrize("place", [(0, 1, 5, 3), (0, 0, 63, 63), (1, 1, 40, 0)])
def test_all_of_them_refuse_a_single_value_that_is_not_finite_or_too_large(interpreted, dtype, poison, place):
    keys, values = kv = torch.ones(2, 2, 64, 64, dtype=TORCH_DTYPE[dtype])
    kv[place] = poison
    for codec in (reference, compiled, interpreted):
        with pytest.raises(CannotEncode):
            codec.encode_tiles(Geometry(1, 1, 64, dtype), Parts(0, 16, 48), keys, values)


def test_every_fp16_number_is_widened_and_narrowed_exactly():
    every = np.arange(1 << 16, dtype=np.uint16)
    kept = every[(every & 0x7C00) != 0x7C00]
    number, back = np.empty(kept.size, np.float32), np.empty(kept.size, np.uint16)
    loops._widen(kept, False, number)
    loops._narrow(number, False, back)
    assert np.array_equal(number, kept.view(np.float16).astype(np.float32))
    assert np.array_equal(back, kept)


@pytest.mark.parametrize("is_bf16", [False, True])
def test_numbers_between_two_of_16_bits_go_to_the_nearer_and_halves_to_the_even(is_bf16):
    rng = np.random.default_rng(0)
    words = rng.integers(0, 1 << 32, 200_000).astype(np.uint32)
    words[::2] &= 0xFFFF_1000 if not is_bf16 else 0xFFFF_8000
    number = words.view(np.float32)
    number = number[np.isfinite(number) & (np.abs(number) < (65504 if not is_bf16 else 3e38))]
    bits = np.empty(number.size, np.uint16)
    loops._narrow(number, is_bf16, bits)
    expected = torch.from_numpy(number).to(torch.bfloat16 if is_bf16 else torch.float16)
    assert np.array_equal(bits, expected.view(torch.uint16).numpy())


@given(parts=SPLITS, dim=st.sampled_from(HEADS))
def test_the_sections_of_a_tile_fill_its_payload_end_to_end(parts, dim):
    geometry, at = Geometry(1, 1, dim, "float16"), 0
    for section in sections(geometry, parts):
        assert section.at == at
        at = section.end
    assert at == payload_bytes(geometry, parts)


def test_a_cache_of_32_bits_is_left_to_the_reference():
    keys, values = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    geometry, parts = Geometry(1, 1, 64, "float32"), Parts(0, 16, 48)
    expected = reference.encode_tiles(geometry, parts, keys, values)
    assert torch.equal(compiled.encode_tiles(geometry, parts, keys, values), expected)
    restored = zip(*(codec.decode_tiles(geometry, parts, expected) for codec in (compiled, reference)), strict=True)
    assert all(torch.equal(part, known) for part, known in restored)
