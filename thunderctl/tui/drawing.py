"""Bars, sparklines and charts of characters. Pure. Scales begin at 0 and have room above the target."""

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text

from thunderctl.tui.theme import BAD, BEHIND, FAINT, GOOD, LINE, WARN

BLOCKS = " ▁▂▃▄▅▆▇█"
LEVELS = len(BLOCKS) - 1
CLIPPED_AT = 3.0
"""Times the target: what is beyond is drawn up to there, or one slow answer would flatten all others."""
HEADROOM = 1.25

Values = Sequence[float | None]


def bar(share: float, width: int, style: str, *, more: float = 0.0, more_style: str = WARN) -> Text:
    """A bar of which `share` is filled; `more` of something else comes behind that, in another glyph."""
    halves = round(max(0.0, min(share, 1.0)) * width * 2)
    whole, half = divmod(halves, 2)
    if share > 0 and halves == 0:
        half = 1
    behind = min(round(max(more, 0.0) * width), width - whole - half)
    if more > 0 and behind <= 0:  # that something waits is never rounded away
        behind, whole, half = 1, min(whole, width - 1), half if whole + half < width - 1 else 0
    return Text.assemble(
        ("━" * whole + "╸" * half, style),
        ("╍" * behind, more_style),
        ("─" * (width - whole - half - behind), LINE),
    )


def top_of(values: Values, target: float | None) -> float:
    """The upper end of a scale from 0: the target has room above it, and so have values, within reason."""
    most = max((value for value in values if value is not None), default=0.0)
    if target is None:
        return most or 1.0
    return max(target * HEADROOM, min(most, target * CLIPPED_AT))


def judged(value: float | None, target: float | None) -> str:
    """The colour of a figure that should be at most its target."""
    if value is None or target is None:
        return FAINT
    return GOOD if value <= target else BAD


def spark(low: Values, high: Values, target: float | None) -> Text:
    """One line: as high as `high`; good where both meet the target, a warning where only `low` does, else bad."""
    top, line = top_of(high, target), Text()
    for p50, p99 in zip(low, high, strict=True):
        if p99 is None:
            line.append(" ")
            continue
        late = target is not None and p99 > target
        style = judged(p50, target) if not late or (p50 or 0) > (target or 0) else WARN
        line.append(BLOCKS[max(1, _level(p99, top, LEVELS))], style)
    return line


def chart(low: Values, high: Values, target: float | None, height: int) -> list[Text]:
    """From top to bottom: `low` as columns, `high` behind them, and a dashed line at the target."""
    top = top_of(high, target)
    marked = None if target is None else height - 1 - min(int(target / top * height), height - 1)
    columns = [
        (_level(p50 or 0.0, top, height * LEVELS), _level(p99 or 0.0, top, height * LEVELS), judged(p50, target))
        for p50, p99 in zip(low, high, strict=True)
    ]
    lines = []
    for row in range(height):
        line, floor = Text(), (height - 1 - row) * LEVELS
        for front, back, style in columns:
            line.append(*_cell(front - floor, back - floor, style, dashed=row == marked))
        lines.append(line)
    return lines


def _cell(front: int, back: int, style: str, *, dashed: bool) -> tuple[str, Style]:
    """One character: how far the column in front and the one behind it reach into its cell, in eighths."""
    behind = BEHIND
    if front >= LEVELS:
        return "█", Style(color=style, bgcolor=style)  # no seams between lines
    if front > 0:
        return BLOCKS[front], Style(color=style, bgcolor=behind if back >= LEVELS else None)
    if dashed:
        return "╌", Style(color=FAINT, bgcolor=behind if back >= LEVELS else None)
    if back >= LEVELS:
        return "█", Style(color=behind, bgcolor=behind)
    return (BLOCKS[back], Style(color=behind)) if back > 0 else (" ", Style())


def _level(value: float, top: float, levels: int) -> int:
    return min(levels, round(value / top * levels)) if value > 0 else 0
