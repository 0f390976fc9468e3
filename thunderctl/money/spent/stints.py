"""Which plan a lease served, and when: what it was rented for, then each that came into force and has its machine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from provisioners.leases.journal import LeaseRow
from thunderctl.store.values import Event, SavedPlan


@dataclass(frozen=True, slots=True)
class Stint:
    """From `since` on (seconds since the epoch), until the next: a plan, and the model that it serves.

    Both are empty where no plan ever had the machine, as with one that was found and ended.
    """

    since: float
    plan_id: str
    model: str


def stints(row: LeaseRow, came: Iterable[Event], plans: Mapping[str, SavedPlan]) -> tuple[Stint, ...]:
    """Oldest first, the first one since ever. `came` are the events that a plan came into force, oldest first.

    Starting up is the affair of the plan that the machine was rented for, though another is in force meanwhile; what
    is left of a machine that the next plan does without is the affair of the last one that had it.
    """
    began_at = row.created_at if row.sent_at is None else row.sent_at
    found = [_stint(float("-inf"), row.plan_id, plans)]
    for event in came:
        plan_id = str(event.detail.get("plan_id") or "")
        if event.at >= began_at and plan_id != found[-1].plan_id and _has(plans.get(plan_id), row):
            found.append(_stint(event.at, plan_id, plans))
    return tuple(found)


def stint_at(found: Iterable[Stint], at: float) -> Stint:
    """The one that a moment falls into."""
    return [one for one in found if one.since <= at][-1]


def _stint(since: float, plan_id: str, plans: Mapping[str, SavedPlan]) -> Stint:
    known = plans.get(plan_id)
    return Stint(since, plan_id, _text(known.document, "model", "name") if known else "")


def _has(plan: SavedPlan | None, row: LeaseRow) -> bool:
    instances = plan.document.get("instances") or () if plan else ()
    return any((one.get("id"), one.get("offer_id")) == (row.instance, row.offer_id) for one in instances)


def _text(document: Mapping[str, Any], section: str, name: str) -> str:
    found = document.get(section)
    return str(found.get(name) or "") if isinstance(found, Mapping) else ""
