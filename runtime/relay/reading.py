"""A ticket's bytes while somebody reads them, as far as they are encoded."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from runtime.relay.progress import Piece, Pieces
from runtime.relay.ticket import NotReady, Ticket, UnknownTicket
from runtime.relay.tickets import Entry, State
from runtime.tiles.box import Box
from runtime.tiles.layout import Layout


@dataclass(frozen=True, slots=True)
class Reading:
    """`data` is kept from being freed meanwhile. Every wait is over when nothing was encoded for `wait_s`."""

    entry: Entry
    data: memoryview
    wait_s: float

    @property
    def ticket(self) -> Ticket:
        return self.entry.ticket

    async def begin(self) -> None:
        """Wait until some of it is there. Raises NotReady, UnknownTicket, TicketFailed."""
        while self._goes_on() and not self.entry.progress.begun:
            await self._change(self.entry.changed)

    async def pieces(
        self, boxes: Sequence[Box], waiting: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> AsyncIterator[Piece]:
        """Pieces of the boxes as their tiles are there, all of them in the end. Raises as `begin` does.

        `waiting` is entered while no more of them is there.
        """
        pieces = Pieces(boxes)
        while not pieces.done:
            changed = self.entry.changed
            for piece in pieces.due(self.entry.progress):
                yield piece
            if not pieces.done and self._goes_on():
                with waiting():
                    await self._change(changed)

    async def copy(self, layout: Layout, target: memoryview) -> None:
        """The tiles of a layout over the same format, each to its place. Raises as `begin` does."""
        whole = Layout(self.ticket.format, self.ticket.format.whole)
        async for piece in self.pieces([layout.box]):
            box = replace(layout.box, layers=piece.layers, groups=piece.groups)
            for (_, _, at, length), (_, _, start, _) in zip(layout.rows(box), whole.rows(box), strict=True):
                target[at : at + length] = self.data[start : start + length]

    def views(self, piece: Piece, box: Box) -> Iterator[memoryview]:
        """The bytes of a piece of that box, in order."""
        whole = Layout(self.ticket.format, self.ticket.format.whole)
        for offset, length in whole.runs(replace(box, layers=piece.layers, groups=piece.groups)):
            yield self.data[offset : offset + length]

    def _goes_on(self) -> bool:
        """Whether more is to come. Raises UnknownTicket, TicketFailed."""
        if self.entry.gone:
            raise UnknownTicket(f"Ticket {self.ticket.ticket} was dropped or has expired.")
        if self.entry.state is State.FAILED:
            raise self.entry.failure
        return self.entry.state is State.PENDING

    async def _change(self, changed: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self.wait_s):
                await changed.wait()
        except TimeoutError as error:
            raise NotReady(f"Nothing of ticket {self.ticket.ticket} was encoded for {self.wait_s:g} s.") from error
