"""What happened, line by line."""

from collections.abc import Sequence
from typing import Any

from sqlmodel import col, func, or_, select

from thunderctl.store.database import Database
from thunderctl.store.tables import EventTable
from thunderctl.store.values import Event


class Events(Database):
    def record(self, deployment: str, kind: str, message: str, **detail: Any) -> None:
        """Commit one event, now. `detail` holds its figures, as JSON takes them."""
        with self._write() as session:
            session.add(EventTable(at=self._now(), deployment=deployment, kind=kind, message=message, detail=detail))

    def last_event_at(self, deployment: str, kind: str) -> float | None:
        """When something of this kind happened last; None where it never did."""
        query = select(func.max(EventTable.at)).where(EventTable.deployment == deployment, EventTable.kind == kind)
        with self._read() as session:
            return session.exec(query).one()

    def events_since(self, deployment: str, kind: str, at: float) -> tuple[Event, ...]:
        """All of one kind from then on, oldest first."""
        query = select(EventTable).where(
            EventTable.deployment == deployment, EventTable.kind == kind, EventTable.at >= at
        )
        with self._read() as session:
            found = session.exec(query.order_by(col(EventTable.event_id)))
            return tuple(Event(**record.model_dump()) for record in found)

    def events_where(
        self,
        deployment: str,
        *,
        after_id: int | None = None,
        since: float = 0.0,
        kinds: Sequence[str] = (),
        limit: int = 100,
    ) -> tuple[Event, ...]:
        """The latest `limit` of these, or the first after that id; oldest first. A kind stands for those below it."""
        query = select(EventTable).where(EventTable.deployment == deployment, EventTable.at >= since)
        if after_id is not None:
            query = query.where(col(EventTable.event_id) > after_id)
        if kinds:
            kind = col(EventTable.kind)
            query = query.where(or_(*(or_(kind == one, kind.startswith(f"{one}.", autoescape=True)) for one in kinds)))
        order = col(EventTable.event_id).desc() if after_id is None else col(EventTable.event_id)
        with self._read() as session:
            found = [Event(**record.model_dump()) for record in session.exec(query.order_by(order).limit(limit))]
        return tuple(sorted(found, key=lambda event: event.event_id))

    def events(self, deployment: str | None = None, *, limit: int = 100) -> tuple[Event, ...]:
        """The latest `limit` events, oldest first; of one deployment if named."""
        query = select(EventTable).order_by(col(EventTable.event_id).desc()).limit(limit)
        if deployment is not None:
            query = query.where(EventTable.deployment == deployment)
        with self._read() as session:
            found = [Event(**record.model_dump()) for record in session.exec(query)]
        return tuple(reversed(found))
