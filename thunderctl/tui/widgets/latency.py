"""TTFT and TPOT against their targets: sparklines on small screens, charts on large ones; and rate and attainment."""

from collections.abc import Sequence

from rich.text import Text

from thunderctl import words
from thunderctl.tui import columns
from thunderctl.tui.drawing import chart, judged, spark, top_of
from thunderctl.tui.frame import Document, Frame
from thunderctl.tui.series import columns_of, window_of
from thunderctl.tui.theme import BAD, BEHIND, FAINT, GOOD, INK, LINE

LATENCIES = (("TTFT", "ttft"), ("TPOT", "tpot"))
STRIP_S, CHART_S = 900.0, 900.0
AXIS = 8
"""Columns of a chart's scale."""


def latency_strip(frame: Frame, width: int, _height: int) -> Sequence[Text]:
    """A line each, and one for rate and attainment. Nothing before there are routes."""
    if not frame.lists("routes"):
        return []
    return [*(_strip_line(frame, label, name, width) for label, name in LATENCIES), _served(frame, width)]


def latency_charts(frame: Frame, width: int, height: int) -> Sequence[Text]:
    if not frame.lists("routes"):
        return [Text("  Nothing is routed yet.", FAINT)]
    rows = max(2, min(12, (height - 2) // 2 - 1))
    window_s = window_of(frame.points, frame.now, CHART_S)
    lines = [_served(frame, width)]
    for label, name in LATENCIES:
        lines += [_figures(frame, label, name, keyed=True), *_chart(frame, name, width, rows, window_s)]
    return [*lines, _times(window_s, width)]


def _strip_line(frame: Frame, label: str, name: str, width: int) -> Text:
    figures = _figures(frame, label, name)
    room = width - figures.cell_len - 3
    window_s = window_of(frame.points, frame.now, STRIP_S)
    low, high = (_columns(frame, f"{name}_{p}_s", window_s, room) for p in ("p50", "p99"))
    return Text.assemble(figures, "  ", spark(low, high, frame.part("slo").get(f"{name}_s")))


def _figures(frame: Frame, label: str, name: str, *, keyed: bool = False) -> Text:
    """`TTFT  p50  310 ms  p99  1.90 s  target 2.00 s`; where it is `keyed` also what each is drawn in."""
    observed, target = frame.part("observed"), frame.part("slo").get(f"{name}_s")
    line = Text.assemble(" ", (label, f"bold {INK}"))
    for percentile in ("p50", "p99"):
        value = observed.get(f"{name}_{percentile}_s")
        drawn = judged(value, target) if percentile == "p50" else BEHIND
        line.append(" ■" if keyed else " ", drawn)
        line.append(f" {percentile} ", FAINT)
        late = percentile == "p50" and value is not None and target is not None and value > target
        line.append(words.seconds(value).rjust(7), judged(value, target) if percentile == "p50" else INK)
        line.append("!" if late else " ", BAD)
    if target is not None:
        line.append(f" {'╌ ' if keyed else ''}target {words.seconds(target).rjust(7)}", FAINT)
    return line


def _served(frame: Frame, width: int) -> Text:
    """Requests a second, and the share of them that meets the targets, beside what was wanted and predicted."""
    observed, predicted = frame.part("observed"), frame.part("predicted")
    rate, met, wanted = observed.get("rate_rps"), observed.get("slo_attainment"), frame.part("slo").get("attainment")
    line = Text.assemble(" ", ("- " if rate is None else f"{rate:.2f} ", f"bold {INK}"), ("requests/s", FAINT))
    if predicted:
        most = predicted["goodput_rps"]
        line.append(f" of {'-' if most is None else f'{most:.2f}'} simulated", FAINT)
    style = FAINT if met is None or wanted is None else GOOD if met >= wanted else BAD
    least = "" if wanted is None else f" (≥ {wanted:.0%})"
    met_by = Text.assemble((words.share(met), f"bold {style}"), (f" meet SLO{least} ", FAINT))
    return columns.spread(line, met_by, width)


def _chart(frame: Frame, name: str, width: int, rows: int, window_s: float) -> list[Text]:
    target = frame.part("slo").get(f"{name}_s")
    low, high = (_columns(frame, f"{name}_{p}_s", window_s, width - AXIS - 2) for p in ("p50", "p99"))
    top = top_of(high, target)
    drawn = chart(low, high, target, rows)
    scale = [words.seconds(top), *[""] * (rows - 2), "0"]
    return [
        Text.assemble((mark.rjust(AXIS - 1), FAINT), ("▕", LINE), line) for mark, line in zip(scale, drawn, strict=True)
    ]


def _times(window_s: float, width: int) -> Text:
    since = Text(f"{' ' * AXIS}{words.span(window_s)} ago", FAINT)
    return columns.spread(since, Text("now  ", FAINT), width)


def _columns(frame: Frame, key: str, window_s: float, width: int) -> Sequence[float | None]:
    points: Sequence[Document] = frame.points
    return columns_of(points, key, now=frame.now, window_s=window_s, width=max(width, 1))
