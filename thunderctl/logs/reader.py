"""The logs of one place, as far as they were read."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from planner.errors import HostError
from thunderctl.logs.lines import Lines
from thunderctl.logs.places import Place
from thunderctl.logs.reading import Cursor, Piece, look_script, pieces

ANSWER_S = 20.0
EVERY_S = 1.0
"""Between two looks at a place where nothing more is waiting."""
AGAIN_S = 5.0
"""Before one that gave no answer is asked again."""

Shown = tuple[str, list[str]]
"""A log's name, and lines of it."""
Show = Callable[[str, list[str]], None]
Say = Callable[[str], None]


@dataclass(slots=True)
class Reader:
    """The first look takes `ends` lines of each log, from logs that come later all. `looked`: there was a first one."""

    place: Place
    ends: int
    looked: bool = False
    _cursors: dict[str, Cursor] = field(default_factory=dict)
    _lines: dict[str, Lines] = field(default_factory=dict)
    _silent: bool = False

    @property
    def found(self) -> set[str]:
        """Names of the logs that are there."""
        return {self.place.called(path) for path in self._cursors}

    async def look(self) -> tuple[list[Shown], bool]:
        """What is new, and whether that is all of it. Raises HostError."""
        try:
            script = look_script(self.place.paths, self._cursors, ends=self.ends)
            done = await self.place.transport.run(script, timeout_s=ANSWER_S)
        finally:
            self.looked = True
        if done.code != 0:
            raise HostError(f"The logs of {self.place.name} can't be read: {done.complaint or f'code {done.code}'}.")
        self.ends = 0
        came = pieces(done.stdout)
        return [shown for piece in came if (shown := self._taken(piece))[1]], all(piece.whole for piece in came)

    def rest(self) -> list[Shown]:
        """What had no end yet: nothing more comes of it."""
        left = [(self.place.called(path), lines.rest()) for path, lines in self._lines.items()]
        return [shown for shown in left if shown[1]]

    async def follow(self, show: Show, say: Say) -> None:
        """Show what is added, until cancelled. That a place is silent is said once; it is asked again and again."""
        while True:
            try:
                heard, whole = await self.look()
            except HostError as error:
                self._note(error, say)
                await asyncio.sleep(AGAIN_S)
                continue
            self._note(None, say)
            for name, lines in heard:
                show(name, lines)
            await asyncio.sleep(EVERY_S if whole else 0.0)

    def _taken(self, piece: Piece) -> Shown:
        self._cursors[piece.path] = piece.cursor
        return self.place.called(piece.path), self._lines.setdefault(piece.path, Lines()).feed(piece.data)

    def _note(self, error: HostError | None, say: Say) -> None:
        if error is not None and not self._silent:
            say(f"{self.place.name} is silent: {error.first_line} It is asked again every {AGAIN_S:g} s.")
        elif error is None and self._silent:
            say(f"{self.place.name} answers again.")
        self._silent = error is not None
