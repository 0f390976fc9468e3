"""Figures and names as the screen writes them. Pure."""

from datetime import UTC, datetime

from rich.text import Text

GAP = "…"


def usd(amount: float) -> str:
    """`$0.060`, `$13.54`, `$1,204`."""
    return f"${amount:.3f}" if amount < 1 else f"${amount:.2f}" if amount < 1000 else f"${amount:,.0f}"


def seconds(value: float | None) -> str:
    """A latency; a dash where nobody has measured it."""
    if value is None:
        return "-"
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.2f} s"


def span(value: float) -> str:
    """`45 s`, `12 min`, `8 h 12 min`, `3 d 4 h`."""
    if value < 90:
        return f"{value:.0f} s"
    minutes = round(value / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def gbit(value: float | None) -> str:
    """To three digits; empty where nobody has measured it."""
    return "" if value is None else f"{value:.3g} Gbit/s"


def clock(at: float) -> str:
    """The time of day, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def moment(text: str) -> str:
    """The time of day of an RFC 3339 time, in UTC."""
    return clock(datetime.fromisoformat(text).timestamp())


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
