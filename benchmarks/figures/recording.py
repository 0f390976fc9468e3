"""An asciicast as one SVG that plays by itself: rows of a terminal, each while it was so, long waits shortened."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from benchmarks.figures.terminal import Cell, Ink, Terminal

WIDE, HIGH, LEFT, TOP = 7.8, 17.0, 14.0, 44.0
"""Pixels of a character, and where the first one is."""
WAIT_S, REDRAWN_S, READ_S, END_S = 1.6, 0.4, 3.5, 6.0
"""Until the next new row at most; between two pictures of a row; before the next command; at the end."""
FLOW_S = 0.03
"""Between rows at least, so that a long table is seen to come."""
PAPER, BAR, INK, FAINT = "#0d1117", "#161b22", "#e6edf3", "#8b949e"
COLOURS = (
    *("#6e7681", "#ff7b72", "#3fb950", "#d29922", "#58a6ff", "#bc8cff", "#39c5cf", "#b1bac4"),
    *("#8b949e", "#ffa198", "#56d364", "#e3b341", "#79c0ff", "#d2a8ff", "#56d4dd", "#f0f6fc"),
)
MONO = 'ui-monospace,SFMono-Regular,"SF Mono",Menlo,Consolas,"Liberation Mono",monospace'

Row = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """The terminal at one time of the playing, and when that really was."""

    at_s: float
    real_s: float
    rows: tuple[Row, ...]
    top: int


def played(cast: str) -> str:
    """The SVG of an asciicast (version 2)."""
    header, *events = (json.loads(line) for line in cast.splitlines())
    width, height = header["width"], header["height"]
    frames = list(_frames(events, Terminal(width, height)))
    return "\n".join(_document(frames, width, height, header["title"])) + "\n"


def _frames(events: Sequence[tuple[float, str, str]], terminal: Terminal) -> Iterator[Frame]:
    """One an event, on the clock of the playing; those that follow too soon on a redrawn row are left out."""
    at_s = last_s = rowed_s = 0.0
    rows = 0
    yield Frame(0.0, 0.0, ((),), 0)
    for real_s, _, text in events:
        terminal.feed(text)
        is_new, rows = len(terminal.rows) > rows, max(rows, len(terminal.rows))
        gap = min(real_s - last_s, WAIT_S)
        last_s = real_s
        if text.startswith("\x1b[1;32m$"):
            gap = READ_S if at_s else 0.4
        elif not is_new:
            gap = min(gap, max(0.0, rowed_s + WAIT_S - at_s))
        at_s += max(gap, FLOW_S if is_new else 0.0)
        rowed_s = at_s if is_new else rowed_s
        yield Frame(at_s, real_s, tuple(tuple(row) for row in terminal.rows), terminal.top)


def _document(frames: Sequence[Frame], columns: int, lines: int, title: str) -> Iterator[str]:
    whole_s = frames[-1].at_s + END_S
    width, height = columns * WIDE + 2 * LEFT, lines * HIGH + TOP + 10
    shown = _shown(frames, whole_s)
    clocks = _clocks(frames, whole_s)
    keys = {when: f"k{number}" for number, when in enumerate(sorted({*shown, *clocks}))}
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="t">'
    yield '<title id="t">A terminal: thunderctl plans, starts, serves, rebalances and ends a deployment</title>'
    yield f"<style>\n{_rules(frames, keys, whole_s)}\n</style>"
    yield f'<rect width="{width:.0f}" height="{height:.0f}" rx="8" fill="{PAPER}"/>'
    yield f'<path d="M0 30V8a8 8 0 0 1 8-8H{width - 8:.0f}a8 8 0 0 1 8 8V30z" fill="{BAR}"/>'
    yield f'<text x="{LEFT}" y="20" class="c">{escape(title)}</text>'
    for when, clock in clocks.items():
        yield f'<text x="{width - LEFT:.0f}" y="20" class="c e {keys[when]}">real time {clock}</text>'
    yield f'<clipPath id="s"><rect y="36" width="{width:.0f}" height="{height - 40:.0f}"/></clipPath>'
    yield '<g clip-path="url(#s)"><g class="scroll">'
    for when, rows in shown.items():
        yield f'<g class="{keys[when]}">'
        yield from (_drawn(row, number) for number, row in rows)
        yield "</g>"
    yield "</g></g>"
    yield "</svg>"


Interval = tuple[float, float]


def _shown(frames: Sequence[Frame], whole_s: float) -> dict[Interval, list[tuple[int, Row]]]:
    """Rows by when they were so. What is redrawn sooner than it can be seen is left out."""
    found: dict[Interval, list[tuple[int, Row]]] = defaultdict(list)
    for number in range(max(len(frame.rows) for frame in frames)):
        states = [(frame.at_s, frame.rows[number] if number < len(frame.rows) else ()) for frame in frames]
        changes = [next(same) for _, same in groupby(states, key=lambda state: state[1])]
        kept = changes[:1]
        for change in changes[1:]:
            if change is changes[-1] or change[0] - kept[-1][0] >= REDRAWN_S or not kept[-1][1]:
                kept.append(change)
        for (at_s, row), (until_s, _) in zip(kept, [*kept[1:], (whole_s, ())], strict=True):
            if any(letter != " " for letter, _ in row) and until_s > at_s:
                found[round(at_s, 2), round(until_s, 2)].append((number, row))
    return dict(sorted(found.items()))


def _clocks(frames: Sequence[Frame], whole_s: float) -> dict[Interval, str]:
    """What the clock shows: whole seconds of the run itself."""
    shown = [(round(frame.at_s, 2), int(frame.real_s)) for frame in frames]
    changes = [next(same) for _, same in groupby(shown, key=lambda one: one[1])]
    kept = [one for one, after in zip(changes, [*changes[1:], (whole_s, 0)], strict=True) if after[0] > one[0]]
    ends = [*(at_s for at_s, _ in kept[1:]), round(whole_s, 2)]
    return {(at_s, end): f"{real // 60}:{real % 60:02}" for (at_s, real), end in zip(kept, ends, strict=True)}


def _rules(frames: Sequence[Frame], keys: dict[Interval, str], whole_s: float) -> str:
    rules = [
        f"text{{font:13px {MONO};fill:{INK};white-space:pre}}",
        f".c{{font-size:12px;fill:{FAINT}}} .e{{text-anchor:end}} .b{{font-weight:700}} .d{{fill-opacity:.6}}",
        *(f".f{number}{{fill:{colour}}}" for number, colour in enumerate(COLOURS)),
        f"[class^=k],[class*=' k'],.scroll{{animation:{whole_s:.2f}s step-end infinite}}",
    ]
    for (at_s, until_s), key in keys.items():
        start, end = (f"{100 * each / whole_s:.3f}%" for each in (at_s, until_s))
        first = "" if at_s == 0 else "0%{opacity:0}"
        last = "" if until_s >= round(whole_s, 2) else f"{end}{{opacity:0}}"
        rules.append(f".{key}{{animation-name:{key}}}@keyframes {key}{{{first}{start}{{opacity:1}}{last}}}")
    tops = [next(same) for _, same in groupby(frames, key=lambda frame: frame.top)]
    moves = "".join(f"{100 * one.at_s / whole_s:.3f}%{{transform:translateY({-one.top * HIGH:g}px)}}" for one in tops)
    return "\n".join([*rules, f".scroll{{animation-name:up}}@keyframes up{{{moves}}}"])


def _drawn(row: Row, number: int) -> str:
    """One row; parts that are drawn alike are together, each as wide as its characters are on a terminal."""
    y = TOP + 4 + number * HIGH
    parts = []
    column = 0
    for ink, cells in groupby(row, key=lambda cell: cell[1]):
        text = "".join(letter for letter, _ in cells)
        if text.strip():
            bare = text.lstrip()
            x = LEFT + (column + len(text) - len(bare)) * WIDE
            bare = bare.rstrip()
            spread = f' textLength="{len(bare) * WIDE:.1f}"' if len(bare) > 1 else ""
            parts.append(f'<text x="{x:.1f}" y="{y:.0f}"{spread}{_class(ink)}>{escape(bare, quote=False)}</text>')
        column += len(text)
    return "".join(parts)


def _class(ink: Ink) -> str:
    names = [
        *([f"f{ink.colour}"] if ink.colour >= 0 else []),
        *(["b"] if ink.bold else []),
        *(["d"] if ink.dim else []),
    ]
    return f' class="{" ".join(names)}"' if names else ""
