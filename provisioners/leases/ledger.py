"""What leases cost: now, and so far."""

from collections.abc import Iterable

from provisioners.leases.journal import LeaseRow, LeaseState


def usd_per_hour(rows: Iterable[LeaseRow]) -> float:
    """What the leases that may cost come to, at live prices where known, else as quoted."""
    return sum(row.usd_per_hour for row in rows if row.state.may_cost)


def spent_usd(rows: Iterable[LeaseRow], now: float) -> float:
    """What the leases have cost until `now`, at their last known prices."""
    return sum(lease_spent_usd(row, now) for row in rows)


def lease_spent_usd(row: LeaseRow, now: float) -> float:
    """From the moment the request may have left until absence was proven: never less than the bill."""
    if row.sent_at is None or row.state is LeaseState.LOST:
        return 0.0
    until = now if row.ended_at is None else row.ended_at
    return row.usd_per_hour * max(0.0, until - row.sent_at) / 3600
