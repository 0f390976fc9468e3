"""Who follows what happens: each with a bounded row of pieces that all share. Who does not keep up is let go.

On loopback anybody of the host may follow: those who did not sign in never take all of the room, and where it is full
who takes nothing of what it is told makes room first.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from thunderctl.api.numbers import Numbers
from thunderctl.api.refusals import Refusal

MOST_READERS = 64
KEPT = 16
"""Of these, for who has signed in."""
SILENT_S = 3.0
"""Who has taken nothing for so long of what waits for it gives way to others."""
AGAIN_S = 10
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
    """One who follows. It has `seen` the store's events up to that id; `over`: it is let go, or the server stops.

    `behind_since` is when the first of what waits for it came; None where nothing does.
    """

    is_brief: bool = False
    is_known: bool = True
    seen: int = 0
    over: bool = False
    behind_since: float | None = None
    _waiting: deque[News] = field(default_factory=deque)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, news: News, at: float = 0.0) -> bool:
        """Whether there was room."""
        self.behind_since = at if self.behind_since is None else self.behind_since
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
        self.behind_since = None
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
    clock: Callable[[], float] = time.monotonic
    _readers: dict[Reader, None] = field(default_factory=dict)
    """In the order in which they came."""

    def __len__(self) -> int:
        return len(self._readers)

    @contextmanager
    def reading(self, *, is_brief: bool = False, is_known: bool = True) -> Iterator[Reader]:
        """One more, for the block; `is_known`: it has signed in. Raises Refusal where there is no room for it."""
        if not self._has_room(is_known=is_known):
            raise _crowded(is_known=is_known)
        reader = Reader(is_brief, is_known)
        self._readers[reader] = None
        self.numbers.live.set(len(self._readers))
        try:
            yield reader
        finally:
            self._readers.pop(reader, None)
            self.numbers.live.set(len(self._readers))

    def _has_room(self, *, is_known: bool) -> bool:
        """Of who came before, one who takes nothing makes room, and for who has signed in any that has not."""
        unknown = [one for one in self._readers if not one.is_known and not one.over]
        known = [one for one in self._readers if one.is_known and not one.over]
        if len(unknown) + len(known) < MOST_READERS and (is_known or len(unknown) < MOST_READERS - KEPT):
            return True
        crowd = (*unknown, *known) if is_known else unknown
        late = self.clock() - SILENT_S
        silent = (one for one in crowd if one.behind_since is not None and one.behind_since < late)
        given_up = next(silent, None) or (unknown[0] if is_known and unknown else None)
        if given_up is None:
            return False
        given_up.end()
        self.numbers.dropped.inc()
        return True

    def tell(self, news: News) -> None:
        """Give it to everybody. Nobody is waited for."""
        at = self.clock()
        for reader in tuple(self._readers):
            if not reader.over and not reader.tell(news, at):
                self.numbers.dropped.inc()

    def close(self) -> None:
        for reader in tuple(self._readers):
            reader.end()


def _crowded(*, is_known: bool) -> Refusal:
    said = f"{MOST_READERS} readers follow already" if is_known else f"{MOST_READERS - KEPT} who did not sign in follow"
    hint = "Try again later." if is_known else "Sign in, or send the token: room is kept for who does. Or try later."
    return Refusal(503, "Crowded", f"{said}; expected fewer.", hint, {"Retry-After": str(AGAIN_S)})
