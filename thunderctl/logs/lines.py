"""What a log holds, as lines that may be printed on anybody's terminal. Pure."""

import re

UNPRINTABLE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Colours and other orders to a terminal: a log's writer may be on a rented host, and the terminal is ours."""
LONGEST = 64 << 10
"""Bytes of a line that has not ended from which on it is shown as it is."""

IN_A_LINE = 300
"""Characters of what a host says that are worth repeating where a line is all that there is."""


class Lines:
    """Cuts what comes of one log into lines. What has no end yet waits for it."""

    def __init__(self) -> None:
        self._begun = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are whole now."""
        *whole, self._begun = (self._begun + data).split(b"\n")
        if len(self._begun) > LONGEST:
            whole.append(self._begun)
            self._begun = b""
        return [printable(line) for line in whole]

    def rest(self) -> list[str]:
        """What was waiting, as a line: nothing more comes."""
        begun, self._begun = self._begun, b""
        return [printable(begun)] if begun else []


def printable(line: bytes) -> str:
    """One line; of a progress bar, which is drawn over and over in one, its last state."""
    text = line.decode(errors="replace").rstrip("\r")
    return UNPRINTABLE.sub("", text.rpartition("\r")[2])


def in_a_line(text: str) -> str:
    """The first line of what somebody said, as far as it may be shown, where it is one of many things."""
    return UNPRINTABLE.sub("", text.strip().partition("\n")[0])[:IN_A_LINE]
