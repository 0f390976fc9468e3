"""Events, the latest first: when, what kind, and what in words."""

from collections.abc import Sequence

from rich.text import Text

from thunderctl import words
from thunderctl.tui import columns
from thunderctl.tui.frame import Document, Frame
from thunderctl.tui.theme import ACCENT, BAD, FAINT, INK, WARN
from thunderctl.tui.widgets.rows import Row

FAILED = ("failed", "error", "lost", "refused")
NOTABLE = ("rebalance", "plan", "down")
NARROW = 100


def event_rows(frame: Frame, width: int) -> Sequence[Row]:
    """A name each, so that one may be read whole."""
    found = [one for one in frame.events if frame.holds(one["kind"], one["message"])]
    kinds = columns.widest([str(one["kind"]) for one in found], 4, 17 if width < NARROW else 20)
    return [Row(_line(one, kinds), f"{one['at']} {one['kind']} {one['message']}") for one in reversed(found)]


def _line(one: Document, kinds: int) -> Text:
    return Text.assemble(
        (f"  {words.moment(one['at'])}  ", FAINT),
        columns.column(str(one["kind"]), kinds, _style(one)),
        "  ",
        (str(one["message"]), INK),
    )


def _style(one: Document) -> str:
    kind, message = str(one["kind"]), str(one["message"]).lower()
    if any(word in kind or message.startswith(word) for word in FAILED):
        return BAD
    if kind.startswith("controller"):
        return WARN
    return ACCENT if kind.startswith(NOTABLE) else FAINT
