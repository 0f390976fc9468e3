"""What somebody should know before all else: that the screen is old, what it waits for, and alerts."""

from collections.abc import Sequence

from rich.text import Text

from thunderctl import words
from thunderctl.status.adapting_words import thought_of
from thunderctl.tui import columns
from thunderctl.tui.frame import Frame
from thunderctl.tui.theme import BAD, FAINT, INK, WARN

SHARE = 8
"""Of the screen's lines, one in so many may be alerts; the rest of them is a key away."""
INDENT = "   "
WIDE, HIGH = 100, 30
"""Columns and lines with room for what is only good to know."""


def notices(frame: Frame, width: int, height: int) -> Sequence[Text]:
    """None where all is well."""
    alerts = _alerts(frame, width, max(height // SHARE, 1))
    return [*_unread(frame, width), *_waits(frame), *_thought(frame, width, height), *_filter(frame), *alerts]


def _unread(frame: Frame, width: int) -> list[Text]:
    if not frame.failed:
        return []
    since = frame.now if frame.failed_since is None else frame.failed_since
    head = f" Can't be read since {words.clock(since)} UTC ({words.span(frame.now - since)}); tried again: "
    return _wrapped(Text.assemble((head, f"bold {BAD}"), (frame.failed, INK)), width, 3)


def _waits(frame: Frame) -> list[Text]:
    said = frame.part("controller").get("waits_for")
    return [Text.assemble((" controller waits: ", WARN), (said, FAINT))] if said else []


def _thought(frame: Frame, width: int, height: int) -> list[Text]:
    """What the controller thinks of the routes: where it waits with something better, or there is room for it."""
    thought = thought_of(frame.status or {})
    if thought is None or not (thought.waits or (width >= WIDE and height >= HIGH)):
        return []
    head, said = (WARN, INK) if thought.waits else (FAINT, FAINT)
    text = Text.assemble((" controller: ", head), (thought.text, said))
    return _wrapped(text, width, 2 if height < HIGH else 3)


def _filter(frame: Frame) -> list[Text]:
    if not frame.wanted:
        return []
    return [Text.assemble((" only rows with ", FAINT), (frame.wanted, f"bold {WARN}"), ("   esc shows all", FAINT))]


def _alerts(frame: Frame, width: int, room: int) -> list[Text]:
    """As many as there is room for: whole where few, a line each where many."""
    alerts = frame.lists("alerts")
    shown, lines = alerts[:room], list[Text]()
    for alert in shown:
        marked = Text.assemble((" ! ", f"bold {BAD}"), (str(alert), INK))
        lines += _wrapped(marked, width, max(room // len(shown), 1))
    if others := len(alerts) - len(shown):
        lines[-1] = columns.spread(lines[-1], Text(f"and {others} more: a ", WARN), width)
    return lines


def _wrapped(text: Text, width: int, most: int) -> list[Text]:
    """At most so many lines; the last one says by its end that there was more."""
    lines = [text[:0]]
    for word in text.split(" ", include_separator=True):
        if lines[-1].cell_len and lines[-1].cell_len + word.cell_len > width:
            lines.append(Text(INDENT))
        lines[-1] = lines[-1] + word
    if len(lines) <= most:
        return lines
    last = Text().join([lines[most - 1], *(line[len(INDENT) :] for line in lines[most:])])
    last.truncate(width, overflow="ellipsis")
    return [*lines[: most - 1], last]
