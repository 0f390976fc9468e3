"""A table's cell whose long words, such as an offer's name, break behind their own hyphens where a column is narrow."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.measure import Measurement
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

PIECE = re.compile(r"[^-_/:,;.=@]*[-_/:,;.=@]*")
"""What may stand alone in a line: up to a sign that joins words, and with it."""


@dataclass(frozen=True, slots=True)
class Cell:
    text: Text

    def __rich_console__(self, _: "Console", options: "ConsoleOptions") -> "RenderResult":
        yield Text("\n").join(self.text.divide(breaks(self.text.plain, options.max_width)))

    def __rich_measure__(self, console: "Console", options: "ConsoleOptions") -> Measurement:
        return Measurement.get(console, options, self.text)

    def __str__(self) -> str:
        return self.text.plain


def breaks(text: str, width: int) -> list[int]:
    """Where words that are longer than a line of so many letters go on in the next one."""
    found = []
    for word in re.finditer(r"\S+", text):
        if len(word[0]) > width:
            found += [word.start() + at for at in _within(word[0], width)]
    return found


def _within(word: str, width: int) -> Iterator[int]:
    """Each line takes as many pieces as it holds."""
    begun = 0
    for piece in PIECE.finditer(word):
        if piece[0] and piece.end() - begun > width and piece.start() > begun:
            begun = piece.start()
            yield begun
