"""What a machine costs when: the cheaper of the two floor prices of each snapshot, as bids and on demand."""

import csv
from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "markets" / "vast_price_samples.csv"
NAMES = {"RTX A6000": "A6000", "RTX 6000 Ada": "RTX6000Ada", "L40S": "L40S", "RTX 5090": "RTX5090"}
"""Their names for the GPU types that the fleet is of."""


@dataclass(frozen=True, slots=True)
class Prices:
    """$/h of one GPU by (type, spot or on-demand): (seconds since the first snapshot, price), oldest first.

    The samples cover 55 hours. Later hours have the prices that were seen that much earlier.
    """

    seen: dict[tuple[str, str], list[tuple[float, float]]]
    span_s: float

    def at(self, gpu: str, at_s: float, market: str = "spot") -> float:
        """The last price seen by then; before the first, that."""
        seen = self.seen[gpu, market]
        return seen[max(bisect_right(seen, (at_s % self.span_s, float("inf"))) - 1, 0)][1]


def read_prices(path: Path = SAMPLES) -> Prices:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["gpu"] in NAMES]
    began = min(_seconds(row["ts"]) for row in rows)
    least: dict[tuple[str, str], dict[float, float]] = {}
    for row in rows:
        by_time = least.setdefault((NAMES[row["gpu"]], row["market"]), {})
        at, usd = _seconds(row["ts"]) - began, float(row["usd_per_gpu_hr"])
        by_time[at] = min(by_time.get(at, usd), usd)
    span_s = max(_seconds(row["ts"]) for row in rows) - began
    return Prices({key: sorted(by_time.items()) for key, by_time in least.items()}, span_s)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
