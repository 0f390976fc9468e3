"""A deployment's money at one moment: what it costs, what it has cost by lease, hour and way, what nears its end."""

import time
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property

from provisioners.leases import ledger
from provisioners.leases.journal import LeaseRow
from provisioners.leases.limits import Limit, limits
from provisioners.leases.transfers import Moved, TransferReading, moved, transfer_usd_per_hour
from thunderctl.spec.spec import Spec
from thunderctl.store.store import Store

DOWN = "down"
"""The kind of event with which a deployment's life ends."""


@dataclass(frozen=True)
class Spending:
    """Rows and readings of one deployment, as of `now`; `down_at` is when it was last taken down, 0 where never."""

    rows: tuple[LeaseRow, ...]
    readings: tuple[TransferReading, ...]
    now: float
    down_at: float = 0.0

    @cached_property
    def life(self) -> "Spending":
        """What `[budget] max_total_usd` is held to: the leases that were not over when it was last taken down, from
        then on, as one that had been given up may have turned up since.

        That they all ended by themselves begins no new life: machines that are taken back would have no limit. Strays
        that `gc` ended, which no plan of this deployment ever had, are reported and not held against it.
        """
        known = (row for row in self.rows if row.plan_id and (row.ended_at is None or row.ended_at > self.down_at))
        rows = tuple(
            row if row.sent_at is None or row.sent_at >= self.down_at else replace(row, sent_at=self.down_at)
            for row in known
        )
        ids = {row.lease_id for row in rows}
        readings = tuple(one for one in self.readings if one.source in ids or one.target in ids)
        return Spending(rows, readings, self.now, self.down_at)

    @cached_property
    def spend(self) -> ledger.Spend:
        return ledger.spend(self.rows, self.readings, self.now)

    @property
    def machines_usd_per_hour(self) -> Decimal:
        return ledger.usd_per_hour(self.rows)

    @cached_property
    def transfer_usd_per_hour(self) -> Decimal:
        """The controller asks with every tick of what it reads once a minute."""
        return transfer_usd_per_hour(self.readings, self.now)

    @property
    def charges(self) -> tuple[ledger.Charge, ...]:
        return tuple(charge for row in self.rows for charge in ledger.charges(row, self.now))

    @property
    def ways(self) -> tuple[Moved, ...]:
        return tuple(moved(self.readings))

    @property
    def hours(self) -> tuple[ledger.HourSpend, ...]:
        return ledger.by_hour(self.rows, self.ways, self.now)

    def limits(self, max_total_usd: float) -> tuple[Limit, ...]:
        """What is due for its leases now: by their time, and by the money."""
        life = self.life
        return limits(
            life.rows,
            self.now,
            spent_usd=life.spend.usd,
            usd_per_hour=life.machines_usd_per_hour + life.transfer_usd_per_hour,
            max_total_usd=max_total_usd,
        )


def spending_of(store: Store, deployment: str, now: float | None = None) -> Spending:
    return spending_from(store, deployment, store.leases(deployment), time.time() if now is None else now)


def spending_from(store: Store, deployment: str, rows: tuple[LeaseRow, ...], now: float) -> Spending:
    """Of leases that are known; transfers, and when it was last taken down, are read."""
    down_at = store.last_event_at(deployment, DOWN) or 0.0
    return Spending(rows, store.transfers(deployment), now, down_at)


def warnings_of(spending: Spending, spec: Spec) -> tuple[str, ...]:
    """What commands say of leases and money that come to an end within the hour."""
    return tuple(limit.reason for limit in spending.limits(spec.budget.max_total_usd))
