"""Names and cells in the room they have: cut where that is too small. Pure."""

from rich.text import Text

GAP = "…"


def clipped(text: str, width: int) -> str:
    """At most so wide: names that share a beginning are told apart by their ends, so the middle goes."""
    if len(text) <= width:
        return text
    if width < 3:
        return text[: max(width, 0)]
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}{GAP}{text[-tail:]}"


def column(text: str, width: int, style: str = "", *, right: bool = False) -> Text:
    """A cell of a table: clipped, and as wide as its column."""
    shown = clipped(text, width)
    return Text(shown.rjust(width) if right else shown.ljust(width), style)


def spread(left: Text, right: Text, width: int) -> Text:
    """Both on one line, the right one at its end; where there is no room for both the left one is cut."""
    room = max(width - right.cell_len - 2, 0)
    head = left.copy()
    head.truncate(room, overflow="ellipsis", pad=True)
    return Text.assemble(head, "  ", right)


def widest(texts: "list[str]", least: int, most: int) -> int:
    """The width of a column that holds these."""
    return max(least, min(most, max((len(text) for text in texts), default=0)))
