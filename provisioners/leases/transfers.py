"""What was moved between machines, and what it costs: measured bytes × the price of their way.

An agent counts what came from each other agent since it began to count; a restart begins another counter. Of every
counter the last reading of each bucket of time is kept, so nothing is counted twice and nothing is lost by a restart.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby

BUCKET_S = 600.0
HOUR_S = 3600.0
BYTES_A_GB = Decimal(10**9)


@dataclass(frozen=True, slots=True)
class TransferReading:
    """What had come from one lease's machine (`source`) to another's (`target`) by the end of a bucket of time.

    `at` is when the bucket began (seconds since the epoch); `counter` tells the counts of one agent's lives apart.
    `usd_per_gb` is None where nobody knows the price: then it counts as nothing, and is shown so.
    """

    deployment: str
    source: str
    target: str
    counter: float
    at: float
    bytes: int
    usd_per_gb: Decimal | None

    @property
    def way(self) -> tuple[str, str, float]:
        return self.source, self.target, self.counter


@dataclass(frozen=True, slots=True)
class Moved:
    """What was moved on one way within one bucket of time, and what that cost; `priced` is false where it may have."""

    source: str
    target: str
    at: float
    gb: Decimal
    usd: Decimal
    priced: bool


def bucket_of(now: float) -> float:
    """When the bucket of a moment began."""
    return now // BUCKET_S * BUCKET_S


def moved(readings: Iterable[TransferReading]) -> Iterator[Moved]:
    """Each reading less the one before it of the same counter."""
    for _, of_one in groupby(sorted(readings, key=lambda one: (one.way, one.at)), key=lambda one: one.way):
        before = 0
        for one in of_one:
            gb = Decimal(max(0, one.bytes - before)) / BYTES_A_GB
            before = max(before, one.bytes)
            yield Moved(one.source, one.target, one.at, gb, gb * (one.usd_per_gb or 0), one.usd_per_gb is not None)


def transfer_usd_per_hour(readings: Iterable[TransferReading], now: float) -> Decimal:
    """What the last hour's transfers cost, its first bucket counted whole: the rate that a budget counts."""
    recent = (one.usd for one in moved(readings) if one.at + BUCKET_S > now - HOUR_S)
    return sum(recent, Decimal(0))
