"""Instances of the plan that rest: released on purpose, and taken back when what they rest for is over.

They are neither lost nor unwanted: the plan stays whole, nothing replaces them, and routes go over the others. The
store keeps which they are with the deployment, so that a controller that is new knows.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from planner.deployment import Plan
from planner.reconcile import Step, StepKind


class RestCause(StrEnum):
    """What an instance rests for."""

    WINDOW = "window"
    """A smaller budget by the clock."""
    PRICE = "price"
    """Prices rose past the budget."""
    SWAP = "swap"
    """As that; a cheaper machine takes its place as soon as it is gone."""
    RATE = "rate"
    """Few requests come."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Why, and since when, one instance rests; `until` is when that ends, where it is known (seconds since the epoch).

    `offer_id` is the plan's: one that the plan has of another offer by now is another machine, and rests no more.
    """

    offer_id: str
    cause: RestCause
    reason: str
    since: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Resting:
    """All that rest, and those that are wanted again and not back yet (`woken`, with the reason).

    `changed_at` is when any of this was last decided.
    """

    instances: Mapping[str, Rest] = field(default_factory=dict)
    woken: Mapping[str, str] = field(default_factory=dict)
    changed_at: float = 0.0

    def of(self, plan: Plan) -> frozenset[str]:
        """The plan's instances that rest."""
        return frozenset(one.id for one in plan.instances if self.rests(one.id, one.offer_id))

    def rests(self, instance: str, offer_id: str) -> bool:
        return instance in self.instances and self.instances[instance].offer_id == offer_id

    def to_json(self) -> dict[str, Any]:
        """As the store keeps it; nothing where there is nothing to keep."""
        if not self.instances and not self.woken and not self.changed_at:
            return {}
        rests = {
            name: {
                "offer_id": one.offer_id,
                "cause": str(one.cause),
                "reason": one.reason,
                "since": one.since,
                "until": one.until,
            }
            for name, one in self.instances.items()
        }
        return {"instances": rests, "woken": dict(self.woken), "changed_at": self.changed_at}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Resting":
        """A rest whose cause another version named counts as one for the rate: it is taken back when it is needed."""
        known = set(RestCause)
        instances = {
            str(name): Rest(
                str(one["offer_id"]),
                RestCause(one["cause"]) if one["cause"] in known else RestCause.RATE,
                str(one["reason"]),
                float(one["since"]),
                None if one.get("until") is None else float(one["until"]),
            )
            for name, one in document.get("instances", {}).items()
        }
        return cls(instances, dict(document.get("woken", {})), float(document.get("changed_at", 0.0)))


def replicas_at_rest(plan: Plan, instances: Collection[str]) -> frozenset[str]:
    """The plan's replicas that can't run while these instances rest."""
    at_rest = frozenset(instances)
    return frozenset(one.id for one in plan.replicas if not at_rest.isdisjoint(one.instances)) if at_rest else at_rest


def but_for(steps: Iterable[Step], plan: Plan, instances: Collection[str]) -> tuple[Step, ...]:
    """The steps to a plan, without those that instances which rest would take.

    Routes follow what is started, stopped or moved; that some replicas have none while they rest is as it should be.
    """
    at_rest = replicas_at_rest(plan, instances)
    for_instances, for_replicas = (StepKind.LEASE, StepKind.PREPARE), (StepKind.START,)
    left = tuple(
        step
        for step in steps
        if not (step.what in for_instances and step.id in instances)
        and not (step.what in for_replicas and step.id in at_rest)
    )
    moves = any(step.what in (StepKind.START, StepKind.DRAIN, StepKind.STOP) for step in left)
    return left if moves or not at_rest else tuple(step for step in left if step.what is not StepKind.ROUTE)


def cost_at_rest(plan: Plan, instances: Collection[str]) -> float:
    """What the plan's instances that rest would cost, $/h."""
    return sum(one.usd_per_hour for one in plan.instances if one.id in instances)


def resting_entries(resting: Resting, plan: Plan | None) -> list[dict[str, Any]]:
    """The `resting` of the status document."""
    names = sorted(resting.of(plan)) if plan else []
    return [
        {
            "instance": name,
            "cause": str(resting.instances[name].cause),
            "reason": resting.instances[name].reason,
            "since": resting.instances[name].since,
            "until": resting.instances[name].until,
        }
        for name in names
    ]


def resting_line(entries: Collection[Mapping[str, Any]]) -> str:
    """`resting: i2, i3 (smaller budget until 07:00 UTC)`: for people; empty where nothing rests."""
    by_reason: dict[str, list[str]] = {}
    for one in entries:
        by_reason.setdefault(_why(one), []).append(one["instance"])
    parts = [f"{', '.join(names)} ({why})" for why, names in by_reason.items()]
    return f"resting: {'; '.join(parts)}" if parts else ""


def _why(entry: Mapping[str, Any]) -> str:
    """In two or three words, and until when."""
    words = {
        RestCause.WINDOW: "smaller budget",
        RestCause.PRICE: "prices above the budget",
        RestCause.SWAP: "a cheaper machine takes its place",
        RestCause.RATE: "few requests",
    }
    cause: str = words.get(entry["cause"], entry["reason"])  # one that a newer controller elsewhere knows
    if entry["until"] is None:
        return cause
    until = datetime.fromtimestamp(entry["until"], UTC)
    day = "" if until.date() == datetime.now(UTC).date() else f"{until:%Y-%m-%d} "
    return f"{cause} until {day}{until:%H:%M} UTC"
