"""Sizes and places of tiles follow from the format alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.deployment import Codec
from planner.errors import KvTransferError
from runtime.tiles.box import Box, Tile
from runtime.tiles.format import KvFormat
from runtime.tiles.frame import HEADER, TAG_BYTES, BadFrame, check, seal
from runtime.tiles.geometry import GROUP_TOKENS, Geometry, Parts
from runtime.tiles.layout import Layout

TAG = b"transfer"
TINY = Geometry(layers=8, kv_heads=2, head_dim=64, dtype="float16")
WIDE = Geometry(layers=1, kv_heads=1, head_dim=128, dtype="bfloat16")

geometries = st.builds(
    Geometry,
    layers=st.integers(1, 6),
    kv_heads=st.integers(1, 4),
    head_dim=st.sampled_from([32, 64, 80, 96, 128, 192, 256]),
    dtype=st.sampled_from(["float16", "bfloat16", "float32"]),
)
crossing = st.sampled_from([Codec.RAW, Codec.INT8, Codec.INT4])


@st.composite
def formats(draw):
    geometry = draw(geometries)
    boundary = draw(st.integers(0, geometry.layers))
    return KvFormat(geometry, draw(st.integers(1, 400)), draw(crossing), boundary)


@st.composite
def boxes_in(draw, kv_format):
    def span(stop):
        first = draw(st.integers(0, stop - 1))
        return first, draw(st.integers(first + 1, stop))

    return Box(*(span(stop) for (_, stop) in (kv_format.whole.layers, kv_format.whole.heads, kv_format.whole.groups)))


@given(st.data())
def test_tiles_of_any_box_lie_end_to_end(data):
    kv_format = data.draw(formats())
    layout = Layout(kv_format, data.draw(boxes_in(kv_format)))
    end = 0
    for tile, offset, length in layout.frames():
        assert offset == layout.offset(tile) == end
        end += length
    assert end == layout.size


@given(st.data())
def test_runs_of_a_box_are_exactly_its_tiles(data):
    kv_format = data.draw(formats())
    whole = Layout(kv_format, kv_format.whole)
    box = data.draw(boxes_in(kv_format))
    runs = list(whole.runs(box))
    inside = set(box.tiles())
    wanted = [byte for tile, at, length in whole.frames() if tile in inside for byte in (at, at + length)]
    merged = [byte for at, length in runs for byte in (at, at + length)]
    assert sum(length for _, length in runs) == Layout(kv_format, box).size
    assert set(merged) <= set(wanted)
    assert all(end < start for end, start in zip(merged[1::2], merged[2::2], strict=False))


@given(formats())
def test_every_token_is_kept_in_exactly_one_encoding(kv_format):
    for layer in range(kv_format.geometry.layers):
        for group in range(kv_format.groups):
            assert sum(kv_format.parts(layer, group)) == kv_format.tokens_in(group)


def test_int4_keeps_sinks_the_tail_and_boundary_layers_in_int8():
    kv_format = KvFormat(TINY, 200, Codec.INT4, boundary_layers=2)
    assert kv_format.parts(3, 0) == Parts(0, 16, 48)
    assert kv_format.parts(3, 1) == Parts(0, 0, 64)
    assert kv_format.parts(3, 3) == Parts(0, 8, 0)
    assert {kv_format.parts(layer, 1) for layer in (0, 1, 6, 7)} == {Parts(0, 64, 0)}


def test_an_int4_tile_of_fp16_is_3_56_times_smaller_before_its_header():
    kv_format = KvFormat(TINY, 64 * 3, Codec.INT4, boundary_layers=0)
    assert kv_format.payload_bytes(0, 1) == GROUP_TOKENS * 64 * 2 * 2 * 4.5 / 16


@pytest.mark.parametrize("geometry", [TINY, WIDE], ids=["64 channels", "128 channels"])
def test_int4_is_3_4_times_smaller_at_every_length_from_2048_tokens(geometry):
    def size(codec, tokens):
        kv_format = KvFormat(geometry, tokens, codec, boundary_layers=0)
        return Layout(kv_format, kv_format.whole).size

    assert min(size(Codec.RAW, tokens) / size(Codec.INT4, tokens) for tokens in range(2048, 4200)) >= 3.4


@given(st.data())
def test_any_damage_to_a_frame_is_noticed(data):
    kv_format = data.draw(formats())
    tile = data.draw(st.sampled_from(list(kv_format.whole.tiles())))
    frame = bytearray(kv_format.frame_bytes(tile.layer, tile.group))
    prefix = kv_format.prefix(tile, TAG)
    seal(memoryview(frame), prefix)
    check(memoryview(frame), prefix)
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadFrame):
        check(memoryview(frame), prefix)


@pytest.mark.parametrize("other", [Tile(1, 0, 0), Tile(0, 1, 0), Tile(0, 0, 1)])
def test_a_whole_frame_of_another_tile_is_refused(other):
    kv_format = KvFormat(TINY, 128, Codec.RAW)
    frame = memoryview(bytearray(kv_format.frame_bytes(0, 0)))
    seal(frame, kv_format.prefix(other, TAG))
    with pytest.raises(BadFrame):
        check(frame, kv_format.prefix(Tile(0, 0, 0), TAG))


def test_a_frame_of_another_transfer_is_refused():
    kv_format = KvFormat(TINY, 64, Codec.RAW)
    frame = memoryview(bytearray(kv_format.frame_bytes(0, 0)))
    seal(frame, kv_format.prefix(Tile(0, 0, 0), b"yourtrip"))
    with pytest.raises(BadFrame):
        check(frame, kv_format.prefix(Tile(0, 0, 0), TAG))


def test_a_header_takes_32_bytes():
    assert HEADER.size == 32
    assert len(KvFormat(TINY, 64, Codec.RAW).prefix(Tile(0, 0, 0), bytes(TAG_BYTES))) == 28


@pytest.mark.parametrize(
    "make",
    [
        lambda: Geometry(0, 2, 64, "float16"),
        lambda: Geometry(8, 2, 65, "float16"),
        lambda: Geometry(8, 2, 64, "int8"),
        lambda: KvFormat(TINY, 0, Codec.RAW),
        lambda: KvFormat(TINY, 1 << 40, Codec.RAW),
        lambda: KvFormat(TINY, 64, Codec.LOCAL),
        lambda: KvFormat(TINY, 64, Codec.INT4, boundary_layers=9),
        lambda: Layout(KvFormat(TINY, 64, Codec.RAW), Box((0, 9), (0, 2), (0, 1))),
        lambda: Layout(KvFormat(TINY, 64, Codec.RAW), Box((3, 3), (0, 2), (0, 1))),
    ],
)
def test_what_has_no_size_is_refused(make):
    with pytest.raises(KvTransferError):
        make()
