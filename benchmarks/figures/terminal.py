"""A terminal that keeps every row: what was on which row when, of the control sequences that our output uses.

Known are colours, `\\r`, `\\n`, backspace, the cursor up, down, right, left and to a column, erasing in a row and
below it. Any other sequence is an error: a picture of what was not understood would not be true.
"""

import re
from dataclasses import dataclass, field, replace

SEQUENCE = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|\x1b\]8;[^\x07\x1b]*(?:\x07|\x1b\\)|\x1b(.)", re.DOTALL)
QUIET = {("?", "25", "h"), ("?", "25", "l"), ("?", "2026", "h"), ("?", "2026", "l")}
"""Cursor shown or hidden, output held back until it is whole."""


@dataclass(frozen=True, slots=True)
class Ink:
    """How a character is drawn; `colour` is one of the terminal's sixteen, -1 its own."""

    colour: int = -1
    bold: bool = False
    dim: bool = False


PLAIN = Ink()
Cell = tuple[str, Ink]
EMPTY: Cell = (" ", PLAIN)


@dataclass(slots=True)
class Terminal:
    """Rows from the first on; the screen is the last `height` of them."""

    width: int
    height: int
    rows: list[list[Cell]] = field(default_factory=lambda: [[]])
    row: int = 0
    column: int = 0
    ink: Ink = PLAIN

    def feed(self, text: str) -> None:
        place = 0
        for found in SEQUENCE.finditer(text):
            self._write(text[place : found.start()])
            if found[3]:
                self._control(found[1], found[2], found[3])
            elif found[4]:
                raise ValueError(f"The terminal was sent {found[0]!r}, which it does not know.")
            place = found.end()
        self._write(text[place:])

    @property
    def top(self) -> int:
        """The first row on the screen."""
        return max(0, len(self.rows) - self.height)

    def _write(self, text: str) -> None:
        for letter in text:
            if letter == "\n":
                self._down(1)
            elif letter == "\r":
                self.column = 0
            elif letter == "\b":
                self.column = max(0, self.column - 1)
            elif letter >= " ":
                self._put(letter)

    def _put(self, letter: str) -> None:
        if self.column == self.width:
            self.column = 0
            self._down(1)
        cells = self.rows[self.row]
        cells += [EMPTY] * (self.column + 1 - len(cells))
        cells[self.column] = (letter, self.ink)
        self.column += 1

    def _down(self, by: int) -> None:
        self.row += by
        while len(self.rows) <= self.row:
            self.rows.append([])

    def _control(self, private: str, values: str, what: str) -> None:
        number = int(values.split(";")[0] or 0) if values else 0
        by = max(number, 1)
        cells = self.rows[self.row]
        if what == "m" and not private:
            self.ink = _inked(self.ink, [int(value or 0) for value in values.split(";")])
        elif what == "A":
            self.row = max(self.top, self.row - by)
        elif what == "B":
            self._down(by)
        elif what == "C":
            self.column = min(self.width - 1, self.column + by)
        elif what == "D":
            self.column = max(0, self.column - by)
        elif what == "G":
            self.column = by - 1
        elif what == "K":
            self.rows[self.row] = cells[: self.column] if number == 0 else []
        elif what == "J" and number == 0:
            self.rows[self.row] = cells[: self.column]
            del self.rows[self.row + 1 :]
        elif (private, values, what) not in QUIET:
            raise ValueError(f"The terminal was sent ESC [ {private}{values}{what}, which it does not know.")


def _inked(ink: Ink, codes: list[int]) -> Ink:
    """After these codes; of 256 or more colours those alike to the sixteen, else the terminal's own."""
    while codes:
        code, *codes = codes
        if code == 0:
            ink = PLAIN
        elif code in (1, 2, 22):
            ink = replace(ink, bold=code == 1, dim=code == 2)
        elif 30 <= code <= 37 or 90 <= code <= 97:
            ink = replace(ink, colour=code - 30 if code < 40 else code - 82)
        elif code == 39:
            ink = replace(ink, colour=-1)
        elif code in (38, 48):
            number = codes[1] if codes[:1] == [5] else 16
            codes = codes[2:] if codes[:1] == [5] else codes[4:]
            ink = replace(ink, colour=number if number < 16 else -1) if code == 38 else ink
    return ink
