"""Traces of requests: the embedded presets, and the three CSV styles that are read.

The presets are restated from the Azure LLM inference traces 2023 (CC-BY-4.0, Azure/AzurePublicDataset; Patel et al.,
"Splitwise: Efficient generative LLM inference using phase splitting", ISCA 2024): 1,024 (prompt, output) pairs each.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from itertools import pairwise
from math import isqrt

import numpy as np
import numpy.typing as npt

from planner.errors import SpecError
from planner.tables import table
from planner.workload import Workload

PRESETS = ("coding", "conversation")
GOLDEN = (5**0.5 - 1) / 2
SAMPLE = 1024
"""Most (prompt, output) pairs a workload keeps: enough for the 99th percentile, few enough to plan with."""

STYLES = (
    ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    ("arrived_at", "num_prefill_tokens", "num_decode_tokens"),
    ("arrival_s", "prompt_tokens", "output_tokens"),
)


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in order of arrival: seconds since the first one, prompt tokens, output tokens."""

    name: str
    arrival_s: npt.NDArray[np.float64]
    prompt_tokens: npt.NDArray[np.int64]
    output_tokens: npt.NDArray[np.int64]

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
    pairs = tuple(
        (int(row["prompt_tokens"]), int(row["output_tokens"])) for row in table("workloads") if row["preset"] == name
    )
    return Workload(name, pairs)


def trace_from_csv(text: str, name: str) -> Trace:
    """Read any of the three styles; SpecError names the line of a bad row."""
    reader = csv.DictReader(StringIO(text))
    header = [column.strip() for column in reader.fieldnames or ()]
    style = next((style for style in STYLES if set(style) <= set(header)), None)
    if style is None:
        known = " or ".join(",".join(style) for style in STYLES)
        raise SpecError(f"Trace {name} has columns {','.join(header) or 'none'}; expected {known}.")
    reader.fieldnames = header
    rows = [_row(row, style, name, reader.line_num) for row in reader]
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


def _cut(ordered: Sequence[tuple[int, int]], parts: int) -> list[Sequence[tuple[int, int]]]:
    """Consecutive parts of equal length, to one element; empty ones are left out."""
    edges = [round(i * len(ordered) / parts) for i in range(parts + 1)]
    return [ordered[low:high] for low, high in pairwise(edges) if high > low]


def _row(row: Mapping[str, str], style: tuple[str, str, str], name: str, line: int) -> tuple[float, int, int]:
    when, prompt, output = (row.get(column) or "" for column in style)
    try:
        arrival = _timestamp_s(when) if style[0] == "TIMESTAMP" else float(when)
    except ValueError:
        raise SpecError(f"Trace {name}, line {line}: {style[0]} is {when!r}; expected a time.") from None
    return arrival, _tokens(prompt, style[1], name, line), _tokens(output, style[2], name, line)


def _timestamp_s(text: str) -> float:
    """Seconds of a time stamp with up to seven digits after the point, more than `datetime` takes."""
    whole, _, fraction = text.partition(".")
    return (datetime.fromisoformat(whole) - datetime.min).total_seconds() + float(f"0.{fraction or 0}")


def _tokens(text: str, column: str, name: str, line: int) -> int:
    try:
        tokens = int(text)
    except ValueError:
        tokens = 0
    if tokens < 1:
        raise SpecError(f"Trace {name}, line {line}: {column} is {text!r}; expected a whole number above 0.")
    return tokens
