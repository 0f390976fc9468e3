"""Lease rows: the `Journal` of the lease protocol."""

from dataclasses import asdict, fields
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import Row, Select, bindparam, or_, select

from provisioners.leases.journal import Cause, LeaseRow, LeaseState, Price, stale, usd
from thunderctl.store.database import Database
from thunderctl.store.moved import refuse_moved
from thunderctl.store.tables import DeploymentTable, LeaseTable
from thunderctl.store.values import DeploymentState

COLUMNS = tuple(field.name for field in fields(LeaseRow))


class Leases(Database):
    def leases(self, deployment: str | None = None, *, ended_since: float | None = None) -> tuple[LeaseRow, ...]:
        """Every row, oldest first, the ended ones too; of one deployment if named, and of those that ended, where a
        time is given, those that did so since then.

        Without a name there are none of deployments that were moved away: what became of those is not known here.
        """
        query = _query(of_one=deployment is not None, since=ended_since is not None)
        given = {"deployment": deployment, "ended_since": ended_since}
        with self._read() as session:
            return tuple(_row(record) for record in session.connection().execute(query, given))

    def lease(self, lease_id: str) -> LeaseRow | None:
        """One row; None where there is none of that name."""
        with self._read() as session:
            record = session.get(LeaseTable, lease_id)
            return None if record is None else _row(record)

    def add_lease(self, row: LeaseRow) -> None:
        """Commit a new row. Raises Refused where another host's store is the deployment's."""
        with self._write() as session:
            refuse_moved(session, row.deployment)
            session.add(LeaseTable(**_columns(row)))

    def update_lease(self, row: LeaseRow, *, was: LeaseState) -> None:
        """Commit a changed row. Raises Incomplete, and writes nothing, when the stored row's state is not `was`."""
        with self._write() as session:
            record = session.get(LeaseTable, row.lease_id, with_for_update=True)
            if record is None or record.state != was:
                raise stale(row.lease_id, record.state if record else "absent", was)
            record.sqlmodel_update(_columns(row))
            session.add(record)


@cache
def _query(*, of_one: bool, since: bool) -> Select[Any]:
    """Made once, and its rows are no objects of the session: whoever waits for machines asks a thousand times, and
    that is half the time of asking."""
    table, deployments = LeaseTable.__table__.c, DeploymentTable.__table__.c  # type: ignore[attr-defined]
    query = select(*table).order_by(table.created_at, table.lease_id)
    if of_one:
        query = query.where(table.deployment == bindparam("deployment"))
    else:
        away = select(deployments.name).where(deployments.state == DeploymentState.MOVED)
        query = query.where(table.deployment.not_in(away))
    if since:
        query = query.where(or_(table.ended_at.is_(None), table.ended_at >= bindparam("ended_since")))
    return query


def _columns(row: LeaseRow) -> dict[str, Any]:
    live = row.live_usd_per_hour
    return {
        **asdict(row),
        "state": str(row.state),
        "drained_for": None if row.drained_for is None else str(row.drained_for),
        "quoted_usd_per_hour": usd(row.quoted_usd_per_hour),
        "live_usd_per_hour": None if live is None else usd(live),
        "prices": [[price.since, str(price.usd_per_hour)] for price in row.prices],
    }


def _row(record: LeaseTable | Row[Any]) -> LeaseRow:
    live = record.live_usd_per_hour
    return LeaseRow(
        **{
            **{name: getattr(record, name) for name in COLUMNS},
            "state": LeaseState(record.state),
            "drained_for": None if record.drained_for is None else Cause(record.drained_for),
            "quoted_usd_per_hour": float(record.quoted_usd_per_hour),
            "live_usd_per_hour": None if live is None else float(live),
            "prices": tuple(Price(since, Decimal(digits)) for since, digits in record.prices),
        }
    )
