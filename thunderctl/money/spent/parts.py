"""What was spent, cut into parts that are of one lease, one plan and one hour; and these added up by what is asked."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from decimal import Decimal

from provisioners.leases.ledger import Charge
from provisioners.leases.transfers import BUCKET_S, Moved
from thunderctl.history import IN_FORCE
from thunderctl.money.spending import Spending
from thunderctl.money.spent.by import By
from thunderctl.money.spent.hours import day_of, hour_of, next_hour
from thunderctl.money.spent.stints import Stint, stint_at, stints
from thunderctl.store.store import Store

NOWHERE = Stint(float("-inf"), "", "")


@dataclass(frozen=True, slots=True)
class Part:
    """A lease's machine for at most an hour at one price, or what went to another's (`to_lease`) in a bucket of time.

    `at` is when it began (seconds since the epoch). `unpriced_gb` is what of `gb` nobody knows the price of.
    """

    at: float
    lease_id: str
    plan_id: str
    model: str
    to_lease: str = ""
    usd_per_hour: Decimal | None = None
    hours: Decimal = Decimal(0)
    machines_usd: Decimal = Decimal(0)
    transfer_usd: Decimal = Decimal(0)
    gb: Decimal = Decimal(0)
    unpriced_gb: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Sum:
    """What parts come to. A transfer counts for the lease that it left."""

    hours: Decimal = Decimal(0)
    machines_usd: Decimal = Decimal(0)
    transfer_usd: Decimal = Decimal(0)
    gb: Decimal = Decimal(0)
    unpriced_gb: Decimal = Decimal(0)

    @property
    def usd(self) -> Decimal:
        return self.machines_usd + self.transfer_usd

    def __add__(self, other: "Sum | Part") -> "Sum":
        return Sum(
            self.hours + other.hours,
            self.machines_usd + other.machines_usd,
            self.transfer_usd + other.transfer_usd,
            self.gb + other.gb,
            self.unpriced_gb + other.unpriced_gb,
        )


def stints_of(store: Store, deployment: str, spending: Spending) -> dict[str, tuple[Stint, ...]]:
    """Which plan each lease served, and when."""
    came = store.events_since(deployment, IN_FORCE, 0.0)
    plans = {one.plan_id: one for one in store.plans(deployment)}
    return {row.lease_id: stints(row, came, plans) for row in spending.rows}


def parts_of(
    spending: Spending,
    served: Mapping[str, Sequence[Stint]],
    *,
    tz: tzinfo = UTC,
    since: float = float("-inf"),
    until: float = float("inf"),
) -> tuple[Part, ...]:
    """All that was spent from `since` until `until`, oldest first: what they add up to is `spending.spend`, cut there.

    A bucket of transfers is not cut: it belongs where it begins, and to the plan that was in force when it ended.
    """
    found = [part for charge in spending.charges for part in _machine(charge, served, tz, since, until)]
    found += [_transfer(one, served) for one in spending.ways if since <= one.at < until]
    return tuple(sorted(found, key=lambda part: (part.at, part.lease_id, part.to_lease)))


def added_up(parts: Iterable[Part], by: Sequence[By], tz: tzinfo = UTC) -> dict[tuple[str, ...], Sum]:
    """The sums by what each of `by` says of a part, in their order."""
    sums: dict[tuple[str, ...], Sum] = defaultdict(Sum)
    order: dict[tuple[str, ...], tuple[float | str, ...]] = {}
    for part in parts:
        key = tuple(_said(part, one, tz) for one in by)
        sums[key] += part
        # an hour that is there twice in autumn has its place by when it was, not by its name
        order.setdefault(key, tuple(part.at if one is By.HOUR else _said(part, one, tz) for one in by))
    return {key: sums[key] for key in sorted(sums, key=order.__getitem__)}


def _said(part: Part, by: By, tz: tzinfo) -> str:
    match by:
        case By.HOUR:
            return hour_of(part.at, tz)
        case By.DAY:
            return day_of(part.at, tz)
        case By.LEASE:
            return part.lease_id
        case By.MODEL:
            return part.model


def _machine(
    charge: Charge, served: Mapping[str, Sequence[Stint]], tz: tzinfo, since: float, until: float
) -> Iterator[Part]:
    found = served.get(charge.lease_id, (NOWHERE,))
    changes = [one.since for one in found]
    at, end = max(charge.since, since), min(charge.until, until)
    while at < end:
        then = min(next_hour(at, tz), end, *(one for one in changes if one > at))
        piece, now = replace(charge, since=at, until=then), stint_at(found, at)
        yield Part(
            at,
            charge.lease_id,
            now.plan_id,
            now.model,
            usd_per_hour=charge.usd_per_hour,
            hours=piece.hours,
            machines_usd=piece.usd,
        )
        at = then


def _transfer(one: Moved, served: Mapping[str, Sequence[Stint]]) -> Part:
    now = stint_at(served.get(one.source, (NOWHERE,)), one.at + BUCKET_S)
    unpriced_gb = Decimal(0) if one.priced else one.gb
    return Part(
        one.at,
        one.source,
        now.plan_id,
        now.model,
        to_lease=one.target,
        transfer_usd=one.usd,
        gb=one.gb,
        unpriced_gb=unpriced_gb,
    )
