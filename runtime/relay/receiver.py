"""Where the bytes of tiles go as they arrive, and which tiles did not arrive well.

Bytes are received into the very place where they will be read. Each place is computed from the ticket's format; the
stream has no say in it. Checksums are taken in a thread, some megabytes at a time, while more arrives.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from runtime.relay.patience import STALL_S
from runtime.relay.progress import PIECE_BYTES, Piece, Pieces
from runtime.relay.stream import TURN_BYTES, Stream
from runtime.relay.ticket import Ticket
from runtime.tiles.box import Box, Tile
from runtime.tiles.fold import damaged
from runtime.tiles.layout import Layout

CHECK_BYTES = 4 << 20
"""Checked at once: much longer work than handing it to a thread, and short beside a pull."""


class Run(NamedTuple):
    """Equal frames of one head, expected end to end at `offset`, and how the first one's header begins."""

    first: Tile
    frames: int
    prefix: bytes
    offset: int
    length: int

    @property
    def tiles(self) -> list[Tile]:
        layer, head, group = self.first
        return [Tile(layer, head, group + i) for i in range(self.frames)]


class Receiver:
    """Takes boxes of tiles, piece by piece: `receive` them, then `finish`, also when the stream broke off."""

    def __init__(self, ticket: Ticket, layout: Layout, into: memoryview, boxes: Iterable[Box]) -> None:
        self.ticket = ticket
        self.boxes = tuple(boxes)
        self.bytes = sum(Layout(layout.format, box).size for box in self.boxes)
        self._layout = layout
        self._into = into
        self._pieces = Pieces(self.boxes)
        self._runs: deque[Run] = deque()
        self._arrived = 0
        self._checked = 0
        self._checking: asyncio.Task[None] | None = None
        self._bad: list[Tile] = []
        self._given = 0

    async def receive(
        self,
        stream: Stream,
        within_s: float = STALL_S,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Raises what the stream raises, TimeoutError when nothing came for so long, BadFrame for what was not due.

        `waiting` is entered where the sender may have nothing to send yet.
        """
        while self._arrived < self.bytes:
            with waiting():
                head = await stream.receive(PIECE_BYTES, within_s)
            box = self._pieces.take(Piece.from_bytes(head))
            self._runs.extend(runs_of(self._layout, box, self.ticket.tag))
            for place in self._places(box):
                await stream.receive_into(place, within_s)
                self._arrived += len(place)
                self._check_beside()
                await asyncio.sleep(0)

    async def finish(self) -> list[Tile]:
        """The tiles that are damaged or have not come: what to ask for again."""
        if self._checking is not None:
            await self._checking
        await asyncio.to_thread(self._check, self._arrived)
        missing = [*self._bad, *(tile for box in self._pieces.left for tile in box.tiles())]
        if not self._runs:
            return missing
        broken, *later = self._runs
        came = (self._arrived - self._checked) // (broken.length // broken.frames)
        missing += [*self._damaged(broken, came), *broken.tiles[came:]]
        return missing + [tile for run in later for tile in run.tiles]

    def _places(self, box: Box) -> Iterator[memoryview]:
        """Where the bytes go, one turn of the event loop at a time."""
        for offset, length in self._layout.runs(box):
            end = offset + length
            for at in range(offset, end, TURN_BYTES):
                yield self._into[at : min(at + TURN_BYTES, end)]

    def _check_beside(self) -> None:
        if self._arrived - self._given >= CHECK_BYTES and (self._checking is None or self._checking.done()):
            self._given = self._arrived
            self._checking = asyncio.create_task(asyncio.to_thread(self._check, self._given))

    def _check(self, arrived: int) -> None:
        """Runs that lie wholly within the first `arrived` bytes of the stream."""
        while self._runs and self._checked + self._runs[0].length <= arrived:
            run = self._runs.popleft()
            self._bad += self._damaged(run, run.frames)
            self._checked += run.length

    def _damaged(self, run: Run, frames: int) -> list[Tile]:
        """Of the first frames of a run."""
        data = self._into[run.offset : run.offset + run.length // run.frames * frames]
        tiles = run.tiles
        return [tiles[i] for i in damaged(data, run.prefix, frames)]


def runs_of(layout: Layout, box: Box, tag: bytes) -> Iterator[Run]:
    """The frames of a smaller box in canonical order, where they lie in the layout."""
    for layer, head, at, _ in layout.rows(box):
        for segment in layout.format.segments(layer, box.groups):
            first, length = Tile(layer, head, segment.first_group), segment.groups * segment.frame_bytes
            yield Run(first, segment.groups, layout.format.prefix(first, tag), at, length)
            at += length
