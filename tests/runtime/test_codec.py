"""The codecs as the reference has them: what comes back is near enough, and the bytes never change."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.deployment import Codec
from runtime.codec.protocol import TORCH_DTYPE, CannotEncode
from runtime.codec.rows import Rows, decode, encode, rows_of
from runtime.tiles.box import Box, Tile
from runtime.tiles.format import KvFormat
from runtime.tiles.frame import HEADER, BadFrame
from runtime.tiles.geometry import Geometry
from runtime.tiles.layout import Layout

pytestmark = pytest.mark.engine_env

TAG = b"transfer"


def kv_of(kv_format, *, heads=1, seed=0, spread=3.0):
    """Made-up K and V with channels of very different offsets, as real keys have."""
    generator = torch.Generator().manual_seed(seed)
    shape = (heads, kv_format.tokens, kv_format.geometry.head_dim)
    offsets = torch.randn(1, 1, shape[-1], generator=generator) * spread
    made = torch.randn(2, *shape, generator=generator) + offsets
    keys, values = made.to(TORCH_DTYPE[kv_format.geometry.dtype])
    return keys, values


def there(kv_format, keys, values, layer=0):
    """The frames of all groups of one layer."""
    rows = rows_alone(kv_format, Box((layer, layer + 1), (0, keys.shape[0]), (0, kv_format.groups)))
    frames = bytearray(rows.size)
    encode(rows, keys.unsqueeze(0), values.unsqueeze(0), memoryview(frames), TAG)
    return rows, frames


def rows_alone(kv_format, box):
    return Rows.of(Layout(kv_format, box), box)


def and_back(kv_format, keys, values, layer=0):
    rows, frames = there(kv_format, keys, values, layer)
    keys, values = decode(rows, memoryview(frames), TAG)
    return keys[0], values[0]


def kv_format(codec, tokens=200, head_dim=64, dtype="float16", boundary_layers=0, layers=1, kv_heads=2):
    return KvFormat(Geometry(layers, kv_heads, head_dim, dtype), tokens, codec, boundary_layers)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("tokens", [1, 63, 64, 65, 200])
def test_raw_gives_back_every_bit(dtype, tokens):
    shape = kv_format(Codec.RAW, tokens, dtype=dtype)
    keys, values = kv_of(shape, heads=2)
    assert all(torch.equal(a, b) for a, b in zip(and_back(shape, keys, values), (keys, values), strict=True))


@settings(max_examples=40)
@given(
    codec=st.sampled_from([Codec.INT8, Codec.INT4]),
    tokens=st.integers(1, 200),
    head_dim=st.sampled_from([32, 64, 80, 96, 128, 192, 256]),
    dtype=st.sampled_from(["float16", "bfloat16", "float32"]),
    seed=st.integers(0, 99),
)
def test_no_value_is_off_by_more_than_half_a_step(codec, tokens, head_dim, dtype, seed):
    shape = kv_format(codec, tokens, head_dim, dtype)
    keys, values = kv_of(shape, seed=seed)
    for original, restored, bound in zip(
        (keys, values), and_back(shape, keys, values), bounds(shape, keys, values), strict=True
    ):
        off = (restored.float() - original.float()).abs()
        # fp16 scales and minima, and the cache's own precision, come on top of half a step.
        rounding = original.float().abs().amax() * (2**-7 if dtype == "bfloat16" else 2**-9)
        assert (off <= bound * 0.51 + rounding).all()


def bounds(shape, keys, values):
    """The step of the group that each value belongs to."""
    geometry, steps = shape.geometry, []
    for part, is_key in ((keys.float(), True), (values.float(), False)):
        step = torch.empty_like(part)
        for group in range(shape.groups):
            parts, start = shape.parts(0, group), group * 64
            eight = slice(start, start + parts.int8)
            four = slice(start + parts.int8, start + shape.tokens_in(group))
            step[:, eight] = _token_step(part[:, eight], geometry.int8_channels, 255)
            if parts.int4 and is_key:
                chunk = part[:, four]
                step[:, four] = (chunk.amax(1, keepdim=True) - chunk.amin(1, keepdim=True)) / 15
            elif parts.int4:
                step[:, four] = _token_step(part[:, four], geometry.int4_channels, 15)
        steps.append(step)
    return steps


def _token_step(part, channels, levels):
    groups = part.unflatten(-1, (-1, channels))
    step = (groups.amax(-1, keepdim=True) - groups.amin(-1, keepdim=True)) / levels
    return step.expand_as(groups).flatten(-2)


def test_an_int4_tile_is_what_plain_arithmetic_says():
    shape = kv_format(Codec.INT4, tokens=128)
    keys, values = kv_of(shape)
    _, frames = there(shape, keys, values)
    at = shape.frame_bytes(0, 0) + HEADER.size
    tile = bytes(frames[at : at + shape.payload_bytes(0, 1)])
    by_channel = [plain(column) for column in keys[0, 64:].float().numpy().T]
    by_token = [plain(row) for row in values[0, 64:].float().numpy()]
    codes = np.array([codes for codes, _, _ in by_channel]).T
    expected = [packed(codes), halves(by_channel, 1), halves(by_channel, 2)]
    expected += [packed(np.array([codes for codes, _, _ in by_token])), halves(by_token, 1), halves(by_token, 2)]
    assert tile == b"".join(expected)


def plain(group):
    """Codes, scale and minimum of one group, value by value."""
    low, high = group.min(), group.max()
    scale, minimum = np.float16(np.float32(high - low) / np.float32(15)), np.float16(low)
    divisor = np.float32(scale) if scale else np.float32(1)
    codes = [int(np.clip(np.rint((x - np.float32(minimum)) / divisor), 0, 15)) if scale else 0 for x in group]
    return codes, scale, minimum


def packed(codes):
    return bytes(int(low | high << 4) for low, high in codes.reshape(-1, 2))


def halves(groups, index):
    return np.array([group[index] for group in groups], dtype=np.float16).tobytes()


@pytest.mark.parametrize(
    ("codec", "dtype", "digest"),
    [
        (Codec.RAW, "float16", "217626b95ade763e"),
        (Codec.INT8, "float16", "c76ba14fca1ee18a"),
        (Codec.INT4, "float16", "f606ba399abbcfa8"),
        (Codec.RAW, "bfloat16", "b94221cfb2776def"),
        (Codec.INT8, "bfloat16", "1a1d63f04a9462f1"),
        (Codec.INT4, "bfloat16", "8afbf7fd0f124ea3"),
    ],
)
def test_the_bytes_of_known_kv_never_change(codec, dtype, digest):
    shape = kv_format(codec, tokens=150, dtype=dtype)
    known = (torch.arange(2 * 150 * 64) * 37 % 1009 - 504).view(2, 1, 150, 64) / 64
    _, frames = there(shape, *known.to(TORCH_DTYPE[dtype]))
    assert hashlib.sha256(frames).hexdigest()[:16] == digest


@pytest.mark.parametrize("codec", [Codec.INT8, Codec.INT4])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_group_of_equal_values_comes_back_exactly(codec, dtype):
    shape = kv_format(codec, dtype=dtype)
    keys = torch.full((1, 200, 64), -1234.5).to(TORCH_DTYPE[dtype])
    restored = and_back(shape, keys, keys / 7)
    assert torch.equal(restored[0], keys)
    assert torch.equal(restored[1], keys / 7)


@pytest.mark.parametrize("codec", [Codec.RAW, Codec.INT8, Codec.INT4])
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("token", [0, 100, 199])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_is_not_finite_is_refused(codec, poison, token, dtype):
    shape = kv_format(codec, dtype=dtype)
    for part in (0, 1):
        kv = kv_of(shape)
        kv[part][0, token, 5] = poison
        with pytest.raises(CannotEncode):
            there(shape, *kv)


def test_values_that_fp16_cannot_hold_are_refused():
    shape = kv_format(Codec.INT4, dtype="bfloat16")
    keys, values = kv_of(shape)
    keys[0, 70, 3] = -1e6
    with pytest.raises(CannotEncode):
        there(shape, keys, values)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_round_to_even(dtype):
    shape = kv_format(Codec.INT4, tokens=128, dtype=dtype)
    keys = torch.zeros(1, 128, 64)
    keys[0, 64:, 0] = torch.tensor([0.0, 15.0, 0.5, 1.5, 2.5, 3.5] + [0.0] * 58)
    restored, _ = and_back(shape, *torch.stack((keys, torch.zeros(1, 128, 64))).to(TORCH_DTYPE[dtype]))
    assert restored[0, 64:70, 0].tolist() == [0, 15, 0, 2, 2, 4]


@pytest.mark.parametrize("codec", [Codec.INT8, Codec.INT4])
def test_the_largest_number_comes_back_and_no_infinity(codec):
    """The scale is rounded up, so that code x scale + minimum lies past what fp16 holds."""
    shape = kv_format(codec, tokens=64)
    keys, values = torch.full((2, 1, 64, 64), 65504.0).half()
    keys[:, ::2] = values[..., ::2] = -65504.0
    for part in and_back(shape, keys, values):
        assert part.max() == 65504
        assert part.isfinite().all()


@pytest.mark.parametrize("codec", [Codec.INT8, Codec.INT4])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_sign_of_a_zero_does_not_show_in_the_bytes(codec, dtype):
    shape = kv_format(codec, dtype=dtype)
    keys = torch.zeros(1, 200, 64).to(TORCH_DTYPE[dtype])
    signed = torch.where(torch.arange(64) % 3 == 0, -keys, keys)
    assert there(shape, keys, keys)[1] == there(shape, signed, signed)[1] == there(shape, -keys, -keys)[1]


def test_boundary_layers_come_back_nearer():
    shape = kv_format(Codec.INT4, tokens=256, layers=3, boundary_layers=1)
    keys, values = kv_of(shape)
    off = [(and_back(shape, keys, values, layer)[0] - keys).abs().max() for layer in range(3)]
    assert off[0] == off[2] < off[1] / 2


@pytest.mark.parametrize("codec", [Codec.RAW, Codec.INT8, Codec.INT4])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_some_groups_alone_are_the_same_as_among_all(codec, dtype):
    shape = kv_format(codec, tokens=300, dtype=dtype)
    keys, values = kv_of(shape)
    rows, frames = there(shape, keys, values)
    whole = decode(rows, memoryview(frames), TAG)
    start = shape.span_bytes(0, (0, 2))
    some = decode(rows_alone(shape, Box((0, 1), (0, 1), (2, 5))), memoryview(frames)[start:], TAG)
    assert all(torch.equal(a, b[:, :, 128:]) for a, b in zip(some, whole, strict=True))


def test_damaged_frames_are_not_decoded():
    shape = kv_format(Codec.INT4)
    rows, frames = there(shape, *kv_of(shape))
    frames[-1] ^= 1
    with pytest.raises(BadFrame):
        decode(rows, memoryview(frames), TAG)


def test_frames_of_another_head_are_not_decoded():
    shape = kv_format(Codec.RAW, tokens=64)
    rows = rows_alone(shape, Box((0, 1), (1, 2), (0, 1)))
    frames = bytearray(rows.size)
    encode(rows, *(part.unsqueeze(0) for part in kv_of(shape)), memoryview(frames), TAG)
    assert frames[: HEADER.size - 4] == shape.prefix(Tile(0, 1, 0), TAG)
    with pytest.raises(BadFrame):
        decode(rows_alone(shape, Box((0, 1), (0, 1), (0, 1))), memoryview(frames), TAG)


@settings(max_examples=40)
@given(
    codec=st.sampled_from([Codec.RAW, Codec.INT8, Codec.INT4]),
    tokens=st.integers(1, 300),
    boundary_layers=st.integers(0, 3),
    layers=st.tuples(st.integers(0, 3), st.integers(4, 6)),
    heads=st.sampled_from([(0, 1), (1, 3), (0, 3)]),
    batch_bytes=st.sampled_from([1, 100_000, 1 << 30]),
    dtype=st.sampled_from(["float16", "bfloat16"]),
)
def test_layers_together_give_the_bytes_and_values_of_each_alone(
    codec, tokens, boundary_layers, layers, heads, batch_bytes, dtype
):
    shape = kv_format(codec, tokens, dtype=dtype, boundary_layers=boundary_layers, layers=6, kv_heads=3)
    whole, box = Layout(shape, shape.whole), Box(layers, heads, (0, shape.groups))
    kv = [torch.stack(kv_of(shape, heads=heads[1] - heads[0], seed=layer)) for layer in range(6)]
    region, expected = bytearray(whole.size), bytearray(whole.size)
    batches = list(rows_of(whole, box, batch_bytes))
    assert [layer for rows in batches for layer in range(*rows.box.layers)] == list(range(*layers))
    for rows in batches:
        keys, values = torch.stack(kv[slice(*rows.box.layers)], dim=1)
        place = memoryview(region)[rows.offset : rows.offset + rows.size]
        encode(rows, keys, values, place, TAG)
        for i, layer in enumerate(range(*rows.box.layers)):
            alone, frames = there_at(whole, Box((layer, layer + 1), heads, box.groups), kv[layer])
            expected[alone.offset : alone.offset + alone.size] = frames
            restored = zip(decode(rows, place, TAG), decode(alone, memoryview(frames), TAG), strict=True)
            assert all(torch.equal(together[i], one[0]) for together, one in restored)
    assert region == expected


def there_at(layout, box, kv):
    rows = Rows.of(layout, box)
    frames = bytearray(rows.size)
    encode(rows, *kv.unsqueeze(1), memoryview(frames), TAG)
    return rows, frames
