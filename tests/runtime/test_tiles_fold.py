"""Checking a run of frames at once finds what checking each of them finds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.deployment import Codec
from runtime.tiles.box import Tile
from runtime.tiles.fold import damaged
from runtime.tiles.format import KvFormat
from runtime.tiles.frame import PREFIX, seal
from runtime.tiles.geometry import Geometry

TAG = b"transfer"
FORMAT = KvFormat(Geometry(4, 2, 64, "float16"), 64 * 40, Codec.INT4)
FIRST = Tile(2, 1, 7)
LENGTH = FORMAT.frame_bytes(FIRST.layer, FIRST.group)


def sealed(frames):
    """Frames of consecutive groups, each with bytes of its own."""
    data = bytearray()
    for i in range(frames):
        frame = bytearray((i * 131 + at * 7) % 251 for at in range(LENGTH))
        seal(memoryview(frame), FORMAT.prefix(Tile(FIRST.layer, FIRST.head, FIRST.group + i), TAG))
        data += frame
    return data


def found(data, frames):
    return damaged(memoryview(data), FORMAT.prefix(FIRST, TAG), frames)


@pytest.mark.parametrize("frames", [0, 1, 2, 3, 8, 33])
def test_undamaged_frames_pass(frames):
    assert found(sealed(frames), frames) == []


@given(st.integers(1, 8), st.data())
def test_every_damaged_frame_is_named_and_no_other(frames, data):
    spoilt = data.draw(st.sets(st.integers(0, frames - 1), min_size=1))
    bytes_ = sealed(frames)
    places = data.draw(st.lists(st.integers(0, LENGTH - 1), min_size=len(spoilt), max_size=len(spoilt), unique=True))
    for frame, place in zip(sorted(spoilt), places, strict=True):
        bytes_[frame * LENGTH + place] ^= data.draw(st.integers(1, 255))
    assert found(bytes_, frames) == sorted(spoilt)


@given(st.integers(2, 8), st.data())
def test_frames_in_another_order_are_noticed_though_their_fold_is_the_same(frames, data):
    one, other = data.draw(st.lists(st.integers(0, frames - 1), min_size=2, max_size=2, unique=True))
    bytes_ = sealed(frames)
    a, b = (slice(i * LENGTH, (i + 1) * LENGTH) for i in (one, other))
    bytes_[a], bytes_[b] = bytes_[b], bytes_[a]
    assert found(bytes_, frames) == sorted((one, other))


def test_a_header_of_another_codec_is_noticed():
    bytes_ = sealed(5)
    raw = KvFormat(FORMAT.geometry, FORMAT.tokens, Codec.RAW)
    bytes_[: PREFIX.size] = raw.prefix(FIRST, TAG)
    assert found(bytes_, 5) == [0]
