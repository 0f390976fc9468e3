"""What was spent, as tables: by day, lease, model or hour, and by the ways that KV took."""

from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from thunderctl.cli.output import table
from thunderctl.money.spent.by import By

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from provisioners.leases.journal import LeaseRow
    from thunderctl.cli.tables.spend_report import SpendReport
    from thunderctl.money.spent.parts import Sum

AMOUNTS = ("hours", "machines $", "transfer $", "GB", "$")
OF_LEASE = ("instance", "provider", "state", "$/h")
NO_MODEL = "(no plan)"


def spend_tables(report: "SpendReport") -> "Iterator[RenderableType]":
    """The report of `thunderctl leases --report`. Each table adds up to the same whole."""
    of_time = _of_time(report)
    if not report.parts:
        yield f"Nothing was spent{of_time}"
        return
    for by, sums in report.tables.items():
        name = " and ".join(by)
        yield table(f"Spend by {name}{of_time}", *_sums(report, by, sums), right=("$/h", *AMOUNTS))
    ways = _ways(report)
    if ways:
        yield table("Transfers", ("from", "to", "GB", "$"), ways, right=("GB", "$"))


def _of_time(report: "SpendReport") -> str:
    """` (Europe/Berlin), from 2027-01-01 00:00: $12.3456`"""
    asked = report.asked
    begin = "" if asked.since is None else f" from {_shown(report, asked.since)}"
    end = "" if asked.until is None else f" until {_shown(report, asked.until)}"
    return f" ({asked.tz}){begin}{end}: ${report.whole.usd:.4f}"


def _shown(report: "SpendReport", at: float) -> str:
    return datetime.fromtimestamp(at, report.asked.tz).strftime("%Y-%m-%d %H:%M")


def _sums(
    report: "SpendReport", by: "Sequence[By]", sums: "Mapping[tuple[str, ...], Sum]"
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    rows = {row.lease_id: row for row in report.spending.rows}
    lines = []
    for key, one in sums.items():
        said = [cell or NO_MODEL for cell in key]
        if By.LEASE in by:
            said += _of_lease(report, rows.get(key[list(by).index(By.LEASE)]))
        amounts = (f"{one.hours:.2f}", f"{one.machines_usd:.4f}", f"{one.transfer_usd:.4f}", f"{one.gb:.3f}")
        lines.append((*said, *amounts, f"{one.usd:.4f}"))
    return (*by, *(OF_LEASE if By.LEASE in by else ()), *AMOUNTS), lines


def _of_lease(report: "SpendReport", row: "LeaseRow | None") -> tuple[str, ...]:
    """Who it is, and the prices that it has had."""
    if row is None:  # its row is older than the store
        return ("", "", "", "")
    charged = [one for one in report.spending.charges if one.lease_id == row.lease_id]
    prices = " → ".join(f"{one.usd_per_hour:.4f}" for one in charged)
    return row.instance, row.provider, str(row.state), prices


def _ways(report: "SpendReport") -> list[tuple[str, ...]]:
    """What went from machine to machine, and what that cost."""
    names = {row.lease_id: row.instance or row.lease_id for row in report.spending.rows}
    gb: dict[tuple[str, str, bool], Decimal] = defaultdict(Decimal)
    usd: dict[tuple[str, str, bool], Decimal] = defaultdict(Decimal)
    for one in report.parts:
        if one.to_lease:
            way = names.get(one.lease_id, one.lease_id), names.get(one.to_lease, one.to_lease), not one.unpriced_gb
            gb[way] += one.gb
            usd[way] += one.transfer_usd
    return [(*way[:2], f"{gb[way]:.3f}", f"{usd[way]:.4f}" if way[2] else "price not known") for way in sorted(gb)]
