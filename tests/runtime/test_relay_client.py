"""A stream of frames, however it arrives: good tiles are placed, the others are named."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.deployment import Codec
from runtime.relay.client import Receiver
from runtime.relay.tickets import AgentAddress, Ticket
from runtime.tiles import HEADER, BadFrame, Geometry, KvFormat, Layout, seal

FORMAT = KvFormat(Geometry(4, 2, 64, "float16"), 200, Codec.INT4, boundary_layers=1)
WHOLE = Layout(FORMAT, FORMAT.whole)
TICKET = Ticket("00" * 8, AgentAddress("h", 1, "p.agent.thunder"), "c", "b", FORMAT)
STREAM = memoryview(bytearray(WHOLE.size))
for _tile, _at, _length in WHOLE.frames():
    _frame = STREAM[_at : _at + _length]
    _frame[HEADER.size :] = bytes([_tile.layer * 16 + _tile.head * 8 + _tile.group]) * (_length - HEADER.size)
    seal(_frame, FORMAT.prefix(_tile, TICKET.tag))


@given(st.lists(st.integers(1, WHOLE.size - 1), max_size=12))
def test_however_a_stream_is_cut_into_chunks_every_tile_finds_its_place(cuts):
    into = memoryview(bytearray(WHOLE.size))
    receiver = Receiver(TICKET, WHOLE, into, FORMAT.whole.tiles())
    edges = [0, *sorted(cuts), WHOLE.size]
    for start, end in pairwise(edges):
        receiver.feed(STREAM[start:end])
    assert receiver.missing == []
    assert into == STREAM


@given(st.integers(0, WHOLE.size - 1), st.integers(1, 255), st.integers(0, WHOLE.size))
def test_a_damaged_or_missing_byte_costs_its_tile_only(at, flip, end):
    into, stream = memoryview(bytearray(WHOLE.size)), bytearray(STREAM)
    stream[at] ^= flip
    receiver = Receiver(TICKET, WHOLE, into, FORMAT.whole.tiles())
    receiver.feed(memoryview(stream)[:end])
    lost = {tile for tile, start, length in WHOLE.frames() if start <= at < start + length or start + length > end}
    assert set(receiver.missing) == lost


def test_bytes_beyond_the_last_tile_are_refused():
    receiver = Receiver(TICKET, WHOLE, memoryview(bytearray(WHOLE.size)), FORMAT.whole.tiles())
    receiver.feed(STREAM)
    with pytest.raises(BadFrame):
        receiver.feed(STREAM[:1])
