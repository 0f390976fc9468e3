"""Who follows what happens: each with a bounded row of pieces that all share. Who does not keep up is let go."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from thunderctl.api.numbers import Numbers
from thunderctl.api.refusals import Refusal

MOST_READERS = 64
MOST_WAITING = 32
"""Pieces, of which about one a second comes."""

Piece: TypeAlias = tuple[tuple[int, bytes], ...]
"""Told at once: texts of server-sent events, each with the id that it has in the store, 0 where it is of none."""


@dataclass(frozen=True, slots=True)
class News:
    """A piece, and what of it who wants no documents gets. It replaces what waits of the same `kind`, if that is
    stated: a status is large, and nobody needs one that is over."""

    piece: Piece
    brief: Piece | None = None
    kind: str = ""

    def of(self, *, is_brief: bool) -> Piece:
        return self.brief if is_brief and self.brief is not None else self.piece


@dataclass(slots=True, eq=False)
class Reader:
    """One who follows. It has `seen` the store's events up to that id; `over`: it is let go, or the server stops."""

    is_brief: bool = False
    seen: int = 0
    over: bool = False
    _waiting: deque[News] = field(default_factory=deque)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, news: News) -> bool:
        """Whether there was room."""
        if news.kind:
            self._waiting = deque(one for one in self._waiting if one.kind != news.kind)
        if len(self._waiting) >= MOST_WAITING:
            self.end()
            return False
        self._waiting.append(news)
        self._woken.set()
        return True

    def end(self) -> None:
        self.over = True
        self._woken.set()

    async def next(self, within_s: float) -> bytes:
        """What came since, without what it has seen; empty where nothing did in that time."""
        try:
            async with asyncio.timeout(within_s):
                await self._woken.wait()
        except TimeoutError:
            return b""
        self._woken.clear()
        waiting, self._waiting = self._waiting, deque()
        return self.fresh(one for news in waiting for one in news.of(is_brief=self.is_brief))

    def fresh(self, told: "Iterator[tuple[int, bytes]] | Piece") -> bytes:
        """Those of the texts that it has not seen."""
        found = []
        for event_id, text in told:
            if event_id == 0 or event_id > self.seen:
                found.append(text)
                self.seen = max(self.seen, event_id)
        return b"".join(found)


@dataclass(slots=True)
class Hub:
    """All who follow now."""

    numbers: Numbers
    _readers: set[Reader] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._readers)

    @contextmanager
    def reading(self, *, is_brief: bool = False) -> Iterator[Reader]:
        """One more, for the block. Raises Refusal where there are too many."""
        if len(self._readers) >= MOST_READERS:
            raise Refusal(503, "Crowded", f"{MOST_READERS} readers follow already; expected fewer.", "Try again later.")
        reader = Reader(is_brief)
        self._readers.add(reader)
        self.numbers.live.set(len(self._readers))
        try:
            yield reader
        finally:
            self._readers.discard(reader)
            self.numbers.live.set(len(self._readers))

    def tell(self, news: News) -> None:
        """Give it to everybody. Nobody is waited for."""
        for reader in tuple(self._readers):
            if not reader.over and not reader.tell(news):
                self.numbers.dropped.inc()

    def close(self) -> None:
        for reader in tuple(self._readers):
            reader.end()
