"""A stream of frames, however it arrives: good tiles are placed, the others are named."""

import asyncio
import contextlib
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.deployment import Codec
from runtime.relay.client import STRIPES, boxes_of, stripes_of
from runtime.relay.progress import PIECE_BYTES, Piece
from runtime.relay.receiver import Receiver
from runtime.relay.ticket import AgentAddress, Ticket
from runtime.tiles.box import Box
from runtime.tiles.format import KvFormat
from runtime.tiles.frame import HEADER, BadFrame, seal
from runtime.tiles.geometry import Geometry
from runtime.tiles.layout import Layout

FORMAT = KvFormat(Geometry(4, 2, 64, "float16"), 200, Codec.INT4, boundary_layers=1)
WHOLE = Layout(FORMAT, FORMAT.whole)
ALL = Piece(0, (0, 4), (0, 4))
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

    async def receive(self, length, within_s):
        data = bytearray(length)
        await self.receive_into(memoryview(data), within_s)
        return data


def said(*pieces):
    """The bytes of pieces of the whole, each behind its head."""
    bodies = (WHOLE.runs(Box(piece.layers, FORMAT.whole.heads, piece.groups)) for piece in pieces)
    parts = (
        [piece.bytes, *(STREAM[at : at + length] for at, length in runs)]
        for piece, runs in zip(pieces, bodies, strict=True)
    )
    return memoryview(b"".join(part for piece in parts for part in piece))


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
    assert await received(said(ALL), into) == set()
    assert into == STREAM


@given(st.integers(0, WHOLE.size - 1), st.integers(1, 255))
def test_a_damaged_byte_costs_its_tile_only(at, flip):
    stream = bytearray(said(ALL))
    stream[PIECE_BYTES + at] ^= flip
    assert asyncio.run(received(memoryview(stream))) == frames_touching(at)


@given(st.integers(0, WHOLE.size - 1), st.integers(512, WHOLE.size))
def test_a_stream_that_ends_early_costs_what_did_not_come_and_at_most_one_turn_more(end, turn):
    with mock.patch("runtime.relay.receiver.TURN_BYTES", turn):
        missing = asyncio.run(received(said(ALL)[: PIECE_BYTES + end]))
    never_came = {tile for tile, start, length in WHOLE.frames() if start + length > end}
    came_whole = {tile for tile, start, length in WHOLE.frames() if start + length <= end - end % turn}
    assert never_came <= missing
    assert not came_whole & missing


async def test_pieces_come_in_any_order_that_follows_each_row():
    into = memoryview(bytearray(WHOLE.size))
    pieces = Piece(0, (0, 1), (0, 2)), Piece(0, (2, 4), (0, 1)), Piece(0, (1, 2), (0, 4))
    pieces += Piece(0, (2, 4), (1, 4)), Piece(0, (0, 1), (2, 4))
    assert await received(said(*pieces), into) == set()
    assert into == STREAM


async def test_what_did_not_come_of_a_stream_that_broke_off_between_pieces_is_missing():
    missing = await received(said(Piece(0, (1, 3), (0, 2))))
    assert missing == {tile for tile in FORMAT.whole.tiles() if tile.layer in (0, 3) or tile.group >= 2}


@pytest.mark.parametrize(
    "again",
    [
        Piece(0, (0, 1), (0, 2)),
        Piece(0, (0, 2), (2, 4)),
        Piece(0, (0, 1), (2, 5)),
        Piece(0, (0, 1), (2, 2)),
        Piece(0, (3, 5), (0, 1)),
        Piece(1, (0, 1), (0, 1)),
    ],
)
async def test_a_piece_that_is_not_due_is_not_taken(again):
    with pytest.raises(BadFrame):
        await received(said(Piece(0, (0, 1), (0, 2))).tobytes() + again.bytes)


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
