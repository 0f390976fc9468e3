"""Tickets that are read while they are encoded: tiles leave as they are made, and arrive once and whole."""

import asyncio
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import KvTransferError
from runtime.relay.exchange import PeerUnreachable
from runtime.relay.progress import Pieces, Progress
from runtime.relay.ticket import NotReady, TicketFailed, UnknownTicket
from runtime.tiles.box import Box
from tests.runtime.relaying import FORMAT, WHOLE, expected, fetch, fill, reserved

LAYERS, HEADS, GROUPS = (range(first, stop) for first, stop in (WHOLE.box.layers, WHOLE.box.heads, WHOLE.box.groups))


class Writer:
    """A rank that writes tiles of a ticket when it is told to."""

    def __init__(self, site):
        self.relay = site.relay
        self.ticket, self._region = reserved(site)
        made = memoryview(bytearray(WHOLE.size))
        fill(made, self.ticket)
        self._made = made

    def write(self, *boxes):
        pool = self.relay.pool.view(self._region)
        for box in boxes:
            for at, length in WHOLE.runs(box):
                pool[at : at + length] = self._made[at : at + length]
            self.relay.encoded_part(self.ticket.ticket, box, 0.0, owner="engine", rank=0)

    def finish(self):
        self.relay.encoded(self.ticket.ticket, 0, 0.0)


CHUNKS = [Box((layer, layer + 1), (0, 2), groups) for groups in ((0, 1), (1, 3), (3, 4)) for layer in LAYERS]
"""A prompt of three chunks, layer by layer."""


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def sent(prefill, pieces):
    await until(lambda: prefill.server.pulls >= pieces)


boxes = st.builds(
    lambda layers, heads, groups: Box(tuple(layers), tuple(heads), tuple(groups)),
    *(
        st.lists(st.integers(axis.start, axis.stop), min_size=2, max_size=2, unique=True).map(sorted)
        for axis in (LAYERS, HEADS, GROUPS)
    ),
)


@given(st.lists(boxes, min_size=1, max_size=3), st.randoms())
def test_every_tile_leaves_once_in_whatever_order_the_rows_are_made(asked, drawn):
    rows = [[Box((a, a + 1), (h, h + 1), (g, g + 1)) for g in GROUPS] for a, h in product(LAYERS, HEADS)]
    progress, going, coming = Progress(FORMAT), Pieces(asked), Pieces(asked)
    came = []
    while rows:
        row = drawn.choice(rows)
        progress.add(row.pop(0))
        rows = [row for row in rows if row]
        for piece in going.due(progress):
            came += coming.take(piece).tiles()
    assert going.done
    assert coming.done
    assert sorted(came) == sorted(tile for box in asked for tile in box.tiles())


@pytest.mark.parametrize("box", [Box((0, 1), (0, 2), (2, 3)), Box((0, 2), (0, 1), (0, 1)), Box((0, 1), (0, 3), (1, 2))])
def test_tiles_that_are_not_the_next_of_their_rows_are_refused(box):
    progress = Progress(FORMAT)
    progress.add(Box((0, 1), (0, 2), (0, 1)))
    with pytest.raises(KvTransferError):
        progress.add(box)


@pytest.mark.parametrize("box", [FORMAT.whole, Box((1, 3), (1, 2), (0, 4)), Box((0, 4), (0, 2), (2, 4))])
async def test_tiles_leave_while_others_are_being_encoded(prefill, decode, box):
    writer = Writer(prefill)
    fetching = asyncio.create_task(fetch(decode, writer.ticket, box))
    for number, chunk in enumerate(CHUNKS):
        writer.write(chunk)
        await asyncio.sleep(0.01 if number in (1, 6) else 0)
    writer.finish()
    assert await fetching == expected(writer.ticket, box)


async def test_a_piece_is_sent_before_the_next_one_is_made(prefill, decode):
    writer = Writer(prefill)
    fetching = asyncio.create_task(fetch(decode, writer.ticket))
    for number, chunk in enumerate(CHUNKS, start=1):
        writer.write(chunk)
        await sent(prefill, number)
    assert await fetching == expected(writer.ticket, FORMAT.whole)  # though the rank has not said that it is done
    assert decode.relay.counts["tiles_pulled_twice"] == 0


async def test_a_reader_on_the_same_machine_gets_them_too(prefill):
    writer = Writer(prefill)
    box = Box((1, 4), (1, 2), (1, 4))
    fetching = asyncio.create_task(fetch(prefill, writer.ticket, box))
    for chunk in CHUNKS:
        writer.write(chunk)
        await asyncio.sleep(0)
    assert await fetching == expected(writer.ticket, box)


async def test_another_reader_may_begin_later_and_read_it_all(prefill, decode):
    writer = Writer(prefill)
    first = asyncio.create_task(fetch(decode, writer.ticket))
    writer.write(*CHUNKS[:5])
    await sent(prefill, 1)
    later = asyncio.create_task(fetch(prefill, writer.ticket))
    writer.write(*CHUNKS[5:])
    writer.finish()
    assert await first == await later == await fetch(decode, writer.ticket, timeout_s=1)


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (lambda writer: writer.relay.encode_failed(writer.ticket.ticket, 0, "not finite"), TicketFailed),
        (lambda writer: writer.relay.rank_gone("engine", 0), TicketFailed),
        (lambda writer: writer.relay.drop(writer.ticket.ticket, writer.ticket.capability), UnknownTicket),
    ],
)
@pytest.mark.parametrize("reader", ["decode", "prefill"])
async def test_a_ticket_that_ends_midway_fails_those_who_read_it(prefill, decode, reader, end, error):
    writer = Writer(prefill)
    fetching = asyncio.create_task(fetch({"prefill": prefill, "decode": decode}[reader], writer.ticket))
    writer.write(*CHUNKS[:5])
    await (sent(prefill, 1) if reader == "decode" else asyncio.sleep(0.01))
    end(writer)
    with pytest.raises(error):
        await fetching
    prefill.relay.drop(writer.ticket.ticket, writer.ticket.capability) if error is TicketFailed else writer.finish()
    await until(lambda: prefill.relay.pool.used_bytes == decode.relay.pool.used_bytes == 0)


async def test_a_writer_that_stops_is_not_waited_for_for_ever(prefill, decode):
    writer = Writer(prefill)
    writer.write(*CHUNKS[:5])
    with pytest.raises((NotReady, PeerUnreachable)):
        await fetch(decode, writer.ticket, timeout_s=0.1)
    assert decode.relay.pool.used_bytes == 0


async def test_waiting_for_the_writer_says_nothing_of_the_line(prefill, decode):
    meter = decode.relay._client.links
    now = [0.0]
    meter._now = lambda: now[0]
    with meter.arriving(prefill.address, 2 << 20):
        now[0] += 1.0
        with meter.waiting(prefill.address):
            now[0] += 100.0
        now[0] += 1.0
    assert meter.health[0].bandwidth_gbit_per_s == pytest.approx((2 << 20) * 8 / 1e9 / 2.0)
