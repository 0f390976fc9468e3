"""What leases cost: now, so far, and hour by hour. What is summed is Decimal, so that no sum depends on its order."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from provisioners.leases.journal import LeaseRow, LeaseState, usd
from provisioners.leases.transfers import HOUR_S, Moved, TransferReading, moved

REMEMBERED = 16_384
"""Leases that are over whose cost is not added up again."""


@dataclass(frozen=True, slots=True)
class Charge:
    """A lease at one price, from one moment to another (seconds since the epoch)."""

    lease_id: str
    since: float
    until: float
    usd_per_hour: Decimal

    @property
    def hours(self) -> Decimal:
        return usd(self.until - self.since) / int(HOUR_S)

    @property
    def usd(self) -> Decimal:
        return self.usd_per_hour * self.hours


@dataclass(frozen=True, slots=True)
class Spend:
    """What was spent by a moment. `unpriced_gb` was moved over ways whose price nobody knows, and is not in it."""

    machines_usd: Decimal
    transfer_usd: Decimal
    unpriced_gb: Decimal

    @property
    def usd(self) -> Decimal:
        return self.machines_usd + self.transfer_usd


@dataclass(frozen=True, slots=True)
class HourSpend:
    """What one hour cost; `at` is when it began (seconds since the epoch)."""

    at: float
    machines_usd: Decimal
    transfer_usd: Decimal
    gb: Decimal


def usd_per_hour(rows: Iterable[LeaseRow]) -> Decimal:
    """What the leases that may cost come to, at live prices where known, else as quoted."""
    return sum((usd(row.usd_per_hour) for row in rows if row.state.may_cost), Decimal(0))


def spend(rows: Iterable[LeaseRow], readings: Iterable[TransferReading], now: float) -> Spend:
    """What machines and transfers have cost until `now`."""
    ways = list(moved(readings))
    return Spend(
        machines_usd=sum((lease_spent_usd(row, now) for row in rows), Decimal(0)),
        transfer_usd=sum((one.usd for one in ways), Decimal(0)),
        unpriced_gb=sum((one.gb for one in ways if not one.priced), Decimal(0)),
    )


def lease_spent_usd(row: LeaseRow, now: float) -> Decimal:
    """Every price × the time for which it held."""
    return _spent_until(row, now) if row.ended_at is None else _spent_in_all(row)


@lru_cache(maxsize=REMEMBERED)
def _spent_in_all(row: LeaseRow) -> Decimal:
    """Of one that is over: always the same, and asked for again and again."""
    assert row.ended_at is not None
    return _spent_until(row, row.ended_at)


def _spent_until(row: LeaseRow, now: float) -> Decimal:
    return sum((charge.usd for charge in charges(row, now)), Decimal(0))


def charges(row: LeaseRow, now: float) -> Iterator[Charge]:
    """From the moment the request may have left until absence was proven: never less than the bill.

    A price holds from when it was first seen, the first from the request on. A lease that was lost costs nothing.
    """
    if row.sent_at is None or row.state is LeaseState.LOST:
        return
    end = now if row.ended_at is None else row.ended_at
    ends = [*(price.since for price in row.prices[1:]), end]
    prices = [price.usd_per_hour for price in row.prices] or [usd(row.usd_per_hour)]
    since = row.sent_at
    for price, next_since in zip(prices, ends, strict=True):
        until = min(next_since, end)
        if until > since:
            yield Charge(row.lease_id, since, until, price)
            since = until


def by_hour(rows: Iterable[LeaseRow], ways: Iterable[Moved], now: float) -> tuple[HourSpend, ...]:
    """The hours in which something was spent until `now`, oldest first."""
    known = tuple(rows)
    ended = _hours_of_ended(tuple(row for row in known if row.ended_at is not None))
    machines = _machines_by_hour((row for row in known if row.ended_at is None), now, ended)
    transfer: dict[float, Decimal] = defaultdict(Decimal)
    gb: dict[float, Decimal] = defaultdict(Decimal)
    for one in ways:
        transfer[_hour(one.at)] += one.usd
        gb[_hour(one.at)] += one.gb
    hours = sorted(machines.keys() | transfer.keys())
    return tuple(HourSpend(at, machines.get(at, Decimal(0)), transfer[at], gb[at]) for at in hours)


@lru_cache(maxsize=2)
def _hours_of_ended(rows: tuple[LeaseRow, ...]) -> Mapping[float, Decimal]:
    """Of leases that are over: there may be thousands, and the sums stay what they are until one more is."""
    return _machines_by_hour(rows, 0.0, {})


def _machines_by_hour(rows: Iterable[LeaseRow], now: float, beside: Mapping[float, Decimal]) -> Mapping[float, Decimal]:
    """What these cost until `now`, added to what is known."""
    found: dict[float, Decimal] = defaultdict(Decimal, beside)
    for row in rows:
        for charge in charges(row, now):
            for part in hourly(charge):
                found[_hour(part.since)] += part.usd
    return found


def hourly(charge: Charge) -> Iterator[Charge]:
    """The charge, cut at full hours."""
    since = charge.since
    while since < charge.until:
        until = min(_hour(since) + HOUR_S, charge.until)
        yield Charge(charge.lease_id, since, until, charge.usd_per_hour)
        since = until


def _hour(at: float) -> float:
    return at // HOUR_S * HOUR_S
