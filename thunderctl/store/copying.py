"""One store copied into another that is empty, such as SQLite's of this host into PostgreSQL. Locks stay behind."""

from sqlalchemy import Table, func, insert, select
from sqlmodel import Session, SQLModel

from planner.errors import SpecError
from thunderctl.store.locks import refusal
from thunderctl.store.store import Store
from thunderctl.store.tables import EventTable, LockTable

KEPT = tuple(table for table in SQLModel.metadata.sorted_tables if table.name != LockTable.__tablename__)
NUMBERED = EventTable.__tablename__
"""Its rows are counted by the database, which goes on from the last that it counted itself."""


def copy_store(source: Store, target: Store) -> dict[str, int]:
    """Copy every row, all of them or none; return how many of each table.

    Nobody writes to either meanwhile. Raises Refused while somebody holds a lock of `source`, as a controller does, and
    SpecError where `target` holds anything.
    """
    with source._write() as old, target._write() as new:
        _check_idle(source, old)
        for table in KEPT:
            if _count(new, table):
                raise SpecError(
                    f"There are {table.name} in the store to copy to ({target.address}) already.",
                    hint="Name an empty database in THUNDER_DATABASE_URL.",
                )
        return {table.name: _copy(old, new, table) for table in KEPT}


def _check_idle(source: Store, session: Session) -> None:
    for name in session.connection().execute(select(SQLModel.metadata.tables["locks"].c.deployment)).scalars():
        if holder := source.holder(name):
            raise refusal(holder)


def _count(session: Session, table: Table) -> int:
    return session.connection().execute(select(func.count()).select_from(table)).scalar_one()


def _copy(old: Session, new: Session, table: Table) -> int:
    found = old.connection().execute(select(table).order_by(*table.primary_key.columns)).mappings()
    rows = [
        {name: value for name, value in row.items() if (table.name, name) != (NUMBERED, "event_id")} for row in found
    ]
    if rows:
        new.connection().execute(insert(table), rows)
    return len(rows)
