"""What was spent, as tables: by lease, by hour, and by the ways that KV took."""

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from provisioners.leases.ledger import charges
from thunderctl.cli.output import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from thunderctl.spending import Spending


def spend_tables(spending: "Spending") -> "Iterator[RenderableType]":
    """The report of `thunderctl leases --report`."""
    yield table("Spend by lease", *_by_lease(spending), right=("hours", "$/h", "$"))
    yield table("Spend by hour", *_by_hour(spending), right=("machines $", "transfer $", "GB", "$"))
    if spending.readings:
        yield table("Transfers", *_by_way(spending), right=("GB", "$"))


Rows = tuple[tuple[str, ...], list[tuple[str, ...]]]


def _by_lease(spending: "Spending") -> Rows:
    rows: list[tuple[str, ...]] = []
    for row in spending.rows:
        parts = list(charges(row, spending.now))
        hours = sum((part.hours for part in parts), Decimal(0))
        prices = " → ".join(f"{part.usd_per_hour:.4f}" for part in parts)
        spent = sum((part.usd for part in parts), Decimal(0))
        rows.append((row.lease_id, row.instance, row.provider, str(row.state), f"{hours:.2f}", prices, f"{spent:.4f}"))
    return ("lease", "instance", "provider", "state", "hours", "$/h", "$"), rows


def _by_hour(spending: "Spending") -> Rows:
    rows: list[tuple[str, ...]] = [
        (
            datetime.fromtimestamp(hour.at, UTC).strftime("%Y-%m-%d %H:00"),
            f"{hour.machines_usd:.4f}",
            f"{hour.transfer_usd:.4f}",
            f"{hour.gb:.3f}",
            f"{hour.machines_usd + hour.transfer_usd:.4f}",
        )
        for hour in spending.hours
    ]
    return ("hour", "machines $", "transfer $", "GB", "$"), rows


def _by_way(spending: "Spending") -> Rows:
    names = {row.lease_id: row.instance or row.lease_id for row in spending.rows}
    gb: dict[tuple[str, str, bool], Decimal] = defaultdict(Decimal)
    usd: dict[tuple[str, str, bool], Decimal] = defaultdict(Decimal)
    for one in spending.ways:
        way = names.get(one.source, one.source), names.get(one.target, one.target), one.priced
        gb[way] += one.gb
        usd[way] += one.usd
    rows: list[tuple[str, ...]] = [
        (*way[:2], f"{gb[way]:.3f}", f"{usd[way]:.4f}" if way[2] else "price not known") for way in sorted(gb)
    ]
    return ("from", "to", "GB", "$"), rows
