"""Traces of requests: the embedded presets, and the three CSV styles that are read.

The presets are restated from the Azure LLM inference traces 2023 (CC-BY-4.0, Azure/AzurePublicDataset; Patel et al.,
"Splitwise: Efficient generative LLM inference using phase splitting", ISCA 2024) as joint quantiles.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from itertools import pairwise
from math import inf, isqrt
from reprlib import repr as brief
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from planner.errors import SpecError
from planner.quantiles import BANDS, JointQuantiles, Tokens
from planner.tables import table
from planner.workload import Workload

PRESETS = ("coding", "conversation")
MOST_DIGITS = 9
"""More tokens than any request has; beyond this a number is a mistake."""
BYTE_ORDER_MARK = "\ufeff"
"""What some editors put before the first column."""
GOLDEN = (5**0.5 - 1) / 2
SAMPLE = 1024
"""Most (prompt, output) pairs a workload keeps: enough for the 99th percentile, few enough to plan with."""

Style: TypeAlias = tuple[str, str, str]
STYLES: tuple[Style, ...] = (
    ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    ("arrived_at", "num_prefill_tokens", "num_decode_tokens"),
    ("arrival_s", "prompt_tokens", "output_tokens"),
)


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in order of arrival: seconds since the first one, prompt tokens, output tokens."""

    name: str
    arrival_s: npt.NDArray[np.float64]
    prompt_tokens: Tokens
    output_tokens: Tokens

    @property
    def rate_rps(self) -> float | None:
        """Requests per second over the span; None for a trace without one."""
        span = float(self.arrival_s[-1])
        return (len(self.arrival_s) - 1) / span if span > 0 else None

    def workload(self, sample: int = SAMPLE) -> Workload:
        """Its rate, and a sample of its lengths."""
        pairs = list(zip(self.prompt_tokens.tolist(), self.output_tokens.tolist(), strict=True))
        return Workload(self.name, stratified(pairs, sample), self.rate_rps)


def workload_named(name: str) -> Workload:
    """A preset's lengths, without a rate."""
    if name not in PRESETS:
        raise SpecError(
            f"Workload {name!r} is not known; expected {' or '.join(PRESETS)}, or a trace.", hint="Give a .csv file."
        )
    rows = [row for row in table("workloads") if row["preset"] == name]
    return Workload(name, JointQuantiles(_quantiles(rows, "prompt"), _quantiles(rows, "output")).pairs())


def trace_from_csv(text: str, name: str) -> Trace:
    """Read any of the three styles, its rows in any order; SpecError names the line of a bad row."""
    reader = csv.DictReader(StringIO(text.removeprefix(BYTE_ORDER_MARK), newline=""))
    try:
        header = [column.strip() for column in reader.fieldnames or ()]
        style = _style(header, name)
        reader.fieldnames = header
        rows = [_row(row, style, f"Trace {name}, line {reader.line_num}") for row in reader]
    except csv.Error as error:
        raise SpecError(f"Trace {name}, line {reader.line_num}: not CSV: {error}.") from error
    if not rows:
        raise SpecError(f"Trace {name} has no requests; expected 1 or more.")
    rows.sort(key=lambda row: row[0])
    arrival, prompt, output = (np.array(column) for column in zip(*rows, strict=True))
    return Trace(name, (arrival - arrival[0]).astype(np.float64), prompt.astype(np.int64), output.astype(np.int64))


def stratified(pairs: Sequence[tuple[int, int]], size: int) -> tuple[tuple[int, int], ...]:
    """At most `size` pairs with about the same joint distribution, so that prompt and output stay correlated.

    The pairs are cut into bands of equal number by output and each band into as many cells by prompt; each cell gives
    one pair, the place of its output within the cell following multiples of the golden ratio, which spread evenly.
    """
    if len(pairs) <= size:
        return tuple(pairs)
    bands = isqrt(size)
    cells = [
        sorted(cell, key=lambda pair: pair[1])
        for band in _cut(sorted(pairs, key=lambda pair: (pair[1], pair[0])), bands)
        for cell in _cut(sorted(band), size // bands)
    ]
    return tuple(cell[int(i * GOLDEN % 1 * len(cell))] for i, cell in enumerate(cells))


def _quantiles(rows: Sequence[Mapping[str, str]], tokens: str) -> Tokens:
    """The rows of prompts or of outputs, in the order of their bands."""
    return np.array([[int(row[f"q{i + 1}"]) for i in range(BANDS)] for row in rows if row["tokens"] == tokens])


def _cut(ordered: Sequence[tuple[int, int]], parts: int) -> list[Sequence[tuple[int, int]]]:
    """Consecutive parts of equal length, to one element; empty ones are left out."""
    edges = [round(i * len(ordered) / parts) for i in range(parts + 1)]
    return [ordered[low:high] for low, high in pairwise(edges) if high > low]


def _style(header: Sequence[str], name: str) -> Style:
    style = next((style for style in STYLES if set(style) <= set(header)), None)
    if style is None:
        known = " or ".join(",".join(style) for style in STYLES)
        raise SpecError(f"Trace {name} has columns {','.join(header) or 'none'}; expected {known}.")
    return style


def _row(row: Mapping[str | None, str], style: Style, where: str) -> tuple[float, int, int]:
    """Arrival in seconds, prompt and output tokens. What is beyond the header's columns stands under None."""
    if None in row:
        raise SpecError(f"{where}: more values than columns; expected {len(row) - 1}.")
    when, prompt, output = (row.get(column) or "" for column in style)
    try:
        arrival = _timestamp_s(when) if style[0] == "TIMESTAMP" else float(when)
    except (ValueError, OverflowError):
        arrival = -1.0
    if not 0 <= arrival < inf:
        raise SpecError(f"{where}: {style[0]} is {brief(when)}; expected a time.")
    return arrival, _tokens(prompt, style[1], where), _tokens(output, style[2], where)


def _timestamp_s(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 time stamp, as of UTC where it names no zone."""
    when = datetime.fromisoformat(text.strip())
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _tokens(text: str, column: str, where: str) -> int:
    digits = text.strip()
    tokens = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS else 0
    if tokens < 1:
        raise SpecError(f"{where}: {column} is {brief(text)}; expected a whole number above 0.")
    return tokens
