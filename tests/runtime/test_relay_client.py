"""A stream of frames, however it arrives: good tiles are placed, the others are named."""

import asyncio
import contextlib
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from planner.deployment import Codec
from runtime.relay.client import STRIPES, boxes_of, stripes_of
from runtime.relay.receiver import Receiver
from runtime.relay.tickets import AgentAddress, Ticket
from runtime.tiles.format import KvFormat
from runtime.tiles.frame import HEADER, seal
from runtime.tiles.geometry import Geometry
from runtime.tiles.layout import Layout

FORMAT = KvFormat(Geometry(4, 2, 64, "float16"), 200, Codec.INT4, boundary_layers=1)
WHOLE = Layout(FORMAT, FORMAT.whole)
TICKET = Ticket("00" * 8, AgentAddress("h", 1, "p.agent.thunder"), "c", "b", FORMAT)
STREAM = memoryview(bytearray(WHOLE.size))
for _tile, _at, _length in WHOLE.frames():
    _frame = STREAM[_at : _at + _length]
    _frame[HEADER.size :] = bytes([_tile.layer * 16 + _tile.head * 8 + _tile.group]) * (_length - HEADER.size)
    seal(_frame, FORMAT.prefix(_tile, TICKET.tag))


class Cut:
    """A stream that gives some bytes and then breaks off."""

    def __init__(self, data):
        self._data = data

    async def receive_into(self, place, _within_s):
        if len(place) > len(self._data):
            raise ConnectionResetError
        place[:], self._data = self._data[: len(place)], self._data[len(place) :]


async def received(stream, into=None):
    """What is missing after that."""
    receiver = Receiver(TICKET, WHOLE, memoryview(bytearray(WHOLE.size)) if into is None else into, [FORMAT.whole])
    with contextlib.suppress(ConnectionResetError):
        await receiver.receive(Cut(stream))
    return set(await receiver.finish())


def frames_touching(at):
    return {tile for tile, start, length in WHOLE.frames() if start <= at < start + length}


async def test_a_whole_stream_puts_every_tile_in_its_place():
    into = memoryview(bytearray(WHOLE.size))
    assert await received(STREAM, into) == set()
    assert into == STREAM


@given(st.integers(0, WHOLE.size - 1), st.integers(1, 255))
def test_a_damaged_byte_costs_its_tile_only(at, flip):
    stream = bytearray(STREAM)
    stream[at] ^= flip
    assert asyncio.run(received(memoryview(stream))) == frames_touching(at)


@given(st.integers(0, WHOLE.size - 1), st.integers(512, WHOLE.size))
def test_a_stream_that_ends_early_costs_what_did_not_come_and_at_most_one_turn_more(end, turn):
    with mock.patch("runtime.relay.receiver.TURN_BYTES", turn):
        missing = asyncio.run(received(STREAM[:end]))
    never_came = {tile for tile, start, length in WHOLE.frames() if start + length > end}
    came_whole = {tile for tile, start, length in WHOLE.frames() if start + length <= end - end % turn}
    assert never_came <= missing
    assert not came_whole & missing


@given(st.sets(st.sampled_from(list(FORMAT.whole.tiles())), min_size=1))
def test_tiles_asked_for_again_are_those_and_no_others(tiles):
    boxes = boxes_of(list(tiles))
    asked = [tile for box in boxes for tile in box.tiles()]
    assert sorted(asked) == sorted(tiles)


@given(st.integers(1, 80), st.integers(1, 4000))
def test_stripes_cover_a_box_once_in_about_equal_parts(layers, tokens):
    kv_format = KvFormat(Geometry(layers, 4, 128, "float16"), tokens, Codec.RAW, 0)
    layout = Layout(kv_format, kv_format.whole)
    stripes = stripes_of(layout)
    assert [tile for box in stripes for tile in box.tiles()] == list(layout.box.tiles())
    assert len(stripes) <= min(STRIPES, layers)
    depths = [box.layers[1] - box.layers[0] for box in stripes]
    assert max(depths) - min(depths) <= 1
