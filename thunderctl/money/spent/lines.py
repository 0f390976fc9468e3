"""What was spent as CSV: a line for each lease and hour, and each way and bucket of time; or one for each sum."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from decimal import Decimal

from provisioners.leases.journal import LeaseRow
from thunderctl.money.spent.by import By
from thunderctl.money.spent.hours import hour_of
from thunderctl.money.spent.parts import Part, Sum

PART_COLUMNS = (
    "hour",
    "kind",
    "lease",
    "instance",
    "provider",
    "to_lease",
    "hours",
    "usd_per_hour",
    "gb",
    "usd",
    "priced",
    "plan",
    "model",
)
SUM_COLUMNS = ("hours", "machines_usd", "transfer_usd", "usd", "gb", "unpriced_gb")
DIGITS = Decimal("0.000000001")
"""So that a million lines are no cent off."""


def parts_as_csv(parts: Iterable[Part], rows: Iterable[LeaseRow], tz: tzinfo) -> str:
    """The whole of what was spent."""
    known = {row.lease_id: row for row in rows}
    return _csv(PART_COLUMNS, (_part_line(part, known.get(part.lease_id), tz) for part in parts))


def sums_as_csv(sums: Mapping[tuple[str, ...], Sum], by: Sequence[By]) -> str:
    """A line for each sum."""
    return _csv((*by, *SUM_COLUMNS), ((*key, *_sum_cells(one)) for key, one in sums.items()))


def _part_line(part: Part, row: LeaseRow | None, tz: tzinfo) -> tuple[str, ...]:
    is_machine = part.usd_per_hour is not None
    return (
        hour_of(part.at, tz),
        "machine" if is_machine else "transfer",
        *(part.lease_id, row.instance if row else "", row.provider if row else "", part.to_lease),
        *((_digits(part.hours), str(part.usd_per_hour), "") if is_machine else ("", "", _digits(part.gb))),
        _digits(part.machines_usd + part.transfer_usd),
        "no" if part.unpriced_gb else "yes",
        *(part.plan_id, part.model),
    )


def _sum_cells(one: Sum) -> tuple[str, ...]:
    amounts = (one.hours, one.machines_usd, one.transfer_usd, one.usd, one.gb, one.unpriced_gb)
    return tuple(map(_digits, amounts))


def _digits(amount: Decimal) -> str:
    return f"{amount.quantize(DIGITS):f}"


def _csv(columns: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    return text.getvalue()
