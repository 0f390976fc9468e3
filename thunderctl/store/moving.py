"""One deployment's rows handed over to the store of another host, so that at any time one of the two may lease.

The one that hands over says so in the same transaction that it reads the rows in: from then on nobody gets the
deployment's lock there, and no lease can be written. Rows stay behind, and are what `take_back` goes on with.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import Table, delete, insert, select
from sqlmodel import Session, col

from planner.errors import Refused
from provisioners.leases.journal import LeaseState
from thunderctl.store.copying import KEPT, NUMBERED
from thunderctl.store.store import Store
from thunderctl.store.tables import DeploymentTable, EventTable, LeaseTable
from thunderctl.store.values import DeploymentState

MOVED_IN = "moved.in"
"""The kind of the event that rows came from elsewhere; its detail names the move."""
HERE_ONLY = "local"
"""Machines of this provider are processes of the host that leased them."""

Rows = Mapping[str, list[dict[str, Any]]]


def refuse_unmovable(store: Store, name: str) -> None:
    """Raise Refused where some machine of the deployment can be looked after from this host alone."""
    stuck = [row for row in store.leases(name) if row.state.may_cost and row.provider == HERE_ONLY]
    if stuck:
        names = ", ".join(sorted(row.instance for row in stuck))
        raise Refused(
            f"{names} of {name} are processes of this machine: no controller elsewhere can look after them.",
            hint="Release them first: thunderctl down",
        )


def read_rows(session: Session, name: str) -> dict[str, list[dict[str, Any]]]:
    """Table → the deployment's rows, as JSON takes them."""
    return {
        table.name: [_as_json(row) for row in session.connection().execute(_of(table, name)).mappings()]
        for table in KEPT
    }


def take_in(store: Store, name: str, rows: Rows, move: str) -> bool:
    """Make the deployment's rows these, all of them or none; False where this move was taken in before.

    Raises Refused where the store has a deployment of that name that was not handed over.
    """
    with store._write() as session:
        if _has_come(session, name, move):
            return False
        there = session.get(DeploymentTable, name, with_for_update=True)
        if rows:
            if there is not None and there.state != DeploymentState.MOVED:
                raise Refused(
                    f"The store there has a deployment {name} of its own ({there.state}).",
                    hint="Take it down and remove it there, or use another name: --deployment NAME",
                )
            session.expunge_all()
            _replace(session, name, rows)
        detail = {"move": move}
        message = "the deployment's rows came from another host"
        session.add(EventTable(at=store._now(), deployment=name, kind=MOVED_IN, message=message, detail=detail))
    return True


def take_back(store: Store, name: str, state: DeploymentState) -> None:
    """Have this store be the deployment's again, as it was: only on somebody's word that no other is."""
    with store._write() as session:
        record = session.get(DeploymentTable, name, with_for_update=True)
        if record is not None and record.state == DeploymentState.MOVED:
            record.state = state
            session.add(record)


def hand_over(session: Session, name: str) -> None:
    """Say that the deployment is another store's, whether it was ever saved here or not."""
    record = session.get(DeploymentTable, name, with_for_update=True) or DeploymentTable(
        name=name,
        epoch=0,
        plan_id="",
        endpoint="",
        budget_usd_per_hour=0.0,
        spec={},
        created_at=0.0,
        updated_at=0.0,
        resting={},
        state="",
    )
    record.state = DeploymentState.MOVED
    session.add(record)


def may_cost(rows: Rows) -> list[str]:
    """The leases among these rows that may cost."""
    return [row["lease_id"] for row in rows.get(LeaseTable.__tablename__, ()) if LeaseState(row["state"]).may_cost]


def _has_come(session: Session, name: str, move: str) -> bool:
    found = session.execute(
        select(col(EventTable.detail)).where(col(EventTable.deployment) == name, col(EventTable.kind) == MOVED_IN)
    ).scalars()
    return any(detail.get("move") == move for detail in found)


def _replace(session: Session, name: str, rows: Rows) -> None:
    for table in KEPT:
        session.connection().execute(delete(table).where(_column(table) == name))
    for table in KEPT:
        if found := list(_from_json(table, rows.get(table.name, ()))):
            session.connection().execute(insert(table), found)


def _of(table: Table, name: str) -> Any:
    return select(table).where(_column(table) == name).order_by(*table.primary_key.columns)


def _column(table: Table) -> Any:
    return table.c["name" if table.name == DeploymentTable.__tablename__ else "deployment"]


def _as_json(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): str(value) if isinstance(value, Decimal) else value for name, value in row.items()}


def _from_json(table: Table, rows: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    """Events are numbered anew. Columns that this version does not have are left out."""
    known = set(table.c.keys()) - ({"event_id"} if table.name == NUMBERED else set())
    for row in rows:
        yield {name: value for name, value in row.items() if name in known}
