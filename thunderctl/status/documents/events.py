"""`thunder.events/v1`: what happened."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from thunderctl.store.values import Event

EVENTS_SCHEMA = "thunder.events/v1"


def events_document(events: Iterable[Event]) -> dict[str, Any]:
    """They, oldest first."""
    return {"schema": EVENTS_SCHEMA, "events": [entry(event) for event in events]}


def entry(event: Event) -> dict[str, Any]:
    """One event. Ids grow with time, within one store."""
    return {
        "id": event.event_id,
        "at": rfc3339(event.at),
        "kind": event.kind,
        "message": event.message,
        "detail": dict(event.detail),
    }


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
