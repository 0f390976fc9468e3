"""The rows of the router's table: what is read off a run of the tool, in which unit, and what is to be reached."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DEFAULT, ROUND_ROBIN, OURS = "cache_aware", "round_robin", "ours"
Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""By router: the tool's report of each repetition."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measured thing. `path` leads to it in a report; `scale` makes its unit.

    `times` bounds ours by so many times round_robin's, `beats_default` by the default's, `limit` by itself; all from
    above, where `higher_is_better` from below. A row without bounds is for information.
    """

    what: str
    path: tuple[str, ...]
    scale: float = 1.0
    times: float | None = None
    beats_default: bool = False
    limit: float | None = None
    higher_is_better: bool = False


BURST, PACED = "burst_c32_router", "paced_64x20ms_router"
OVERHEAD = (
    Row("added latency, concurrency 1, 2 KiB, mean, ms", ("c1_2k", "added_ms", "mean"), times=1.5, beats_default=True),
    Row("the same, median, ms", ("c1_2k", "added_ms", "p50")),
    Row("added latency, concurrency 1, 16 KiB, median, ms", ("c1_16k", "added_ms", "p50")),
    Row("added to the first token of a stream, concurrency 1, median, ms", ("c1_2k_stream", "added_ttft_ms", "p50")),
    Row("requests/s, concurrency 32", ("rps_c32_router", "rps"), 1.0, 0.35, True, higher_is_better=True),
    Row("requests/s, concurrency 256", ("rps_c256_router", "rps"), 1.0, 0.35, True, higher_is_better=True),
    Row("CPU ms a request, concurrency 32", ("rps_c32_router", "router_cpu_s_per_1k_requests"), 1.0, 3.0, True),
    Row("CPU ms a request, concurrency 256", ("rps_c256_router", "router_cpu_s_per_1k_requests")),
    Row("CPU s for 1,000 chunks, in a burst", (BURST, "router_cpu_s_per_1k_chunks"), times=2.0),
    Row("CPU s for 1,000 chunks, every 20 ms", (PACED, "router_cpu_s_per_1k_chunks"), times=1.5),
    Row("memory after it, MB", ("router_rss_mb",), limit=150.0),
)
AGENTS = (
    Row("added latency, concurrency 1, 2 KiB, mean, ms", ("c1_2k", "added_ms", "mean")),
    Row("the same, median, ms", ("c1_2k", "added_ms", "p50")),
    Row("added to the first token of a stream, concurrency 1, median, ms", ("c1_2k_stream", "added_ttft_ms", "p50")),
    Row("requests/s, concurrency 32", ("rps_c32_router", "rps")),
    Row("CPU ms a request, concurrency 32, of router and agents", ("rps_c32_router", "router_cpu_s_per_1k_requests")),
)
KILLS = (Row("failed or cut, of 450 requests", ("bad",), limit=0.0),)


def lines(rows: Sequence[Row], runs: Runs) -> Iterator[str]:
    """The rows as a table: medians, ours over round_robin's, and whether the target is met."""
    yield f"| what | {DEFAULT} | {ROUND_ROBIN} | ours | ours ÷ {ROUND_ROBIN} | target | |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in rows:
        found = {router: median(row, reports) for router, reports in runs.items()}
        cells = [f"{found[router]:.4g}" if router in found else "–" for router in (DEFAULT, ROUND_ROBIN, OURS)]
        peer = found.get(ROUND_ROBIN)
        ratio = f"{found[OURS] / peer:.2f}" if peer else "–"
        bounds = dict(bounds_of(row, found))
        met = all(_holds(row, found[OURS], bound) for bound in bounds.values())
        verdict = ("**met**" if met else "**missed**") if bounds else ""
        yield f"| {row.what} | {' | '.join(cells)} | {ratio} | {', '.join(bounds)} | {verdict} |"


def own_lines(rows: Sequence[Row], reports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The rows of ours alone."""
    yield "| what | ours | target | |"
    yield "| --- | --- | --- | --- |"
    for row in rows:
        found = median(row, reports)
        bounds = dict(bounds_of(row, {}))
        met = all(_holds(row, found, bound) for bound in bounds.values())
        verdict = ("**met**" if met else "**missed**") if bounds else ""
        yield f"| {row.what} | {found:.4g} | {', '.join(bounds)} | {verdict} |"


def median(row: Row, reports: Sequence[Mapping[str, Any]]) -> float:
    return statistics.median(_at(report, row.path) * row.scale for report in reports)


def bounds_of(row: Row, found: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """What ours is held against: in words, and as a number."""
    sign = "≥" if row.higher_is_better else "≤"
    if row.limit is not None:
        yield f"{sign} {row.limit:g}", row.limit
    if row.times is not None and ROUND_ROBIN in found:
        yield f"{sign} {row.times:g} × {ROUND_ROBIN}", row.times * found[ROUND_ROBIN]
    if row.beats_default and DEFAULT in found:
        yield f"{'above' if row.higher_is_better else 'below'} {DEFAULT}", found[DEFAULT]


def _holds(row: Row, value: float, bound: float) -> bool:
    return value >= bound if row.higher_is_better else value <= bound


def _at(report: Any, path: Sequence[str]) -> float:
    for word in path:
        report = report[word]
    return float(report)
