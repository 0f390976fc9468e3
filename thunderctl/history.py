"""The plans that a deployment had: what each promised and cost, when it was in force, and which it took over from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thunderctl.store.values import Deployment, DeploymentState, Event, SavedPlan

if TYPE_CHECKING:
    from thunderctl.store.store import Store

IN_FORCE = "plan.in_force"
"""The kind of the event that a plan comes into force; its detail has `plan_id`, and `before` where another was."""
MOST_LOOKED_AT = 10_000
"""Of these events, the latest: a deployment that adapts for months has many."""


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """One plan. Times are seconds since the epoch, None where nobody wrote them down.

    `since` is when it last came into force, in place of `before` (empty: nothing was). `amends` is the plan that it is,
    but for machines that were replaced. `state` is `in force`, `starting`, or empty.
    """

    plan_id: str
    created_at: float
    document: Mapping[str, Any]
    state: str = ""
    since: float | None = None
    before: str = ""

    @property
    def amends(self) -> str:
        return str(self.document.get("amends") or "")

    def figure(self, section: str, name: str) -> Any:
        """A value of the plan's document; None where an older version did not write it."""
        found = self.document.get(section)
        return found.get(name) if isinstance(found, Mapping) else None

    @property
    def phases(self) -> str:
        """`2 prefill, 1 decode`."""
        counts: dict[str, int] = {}
        for replica in self.document.get("replicas") or ():
            counts[str(replica.get("phase"))] = counts.get(str(replica.get("phase")), 0) + 1
        return ", ".join(f"{count} {phase}" for phase, count in counts.items())


def history_of(store: "Store", deployment: str) -> tuple[PlanEntry, ...]:
    """The deployment's plans, the newest first."""
    came = store.events_where(deployment, kinds=(IN_FORCE,), limit=MOST_LOOKED_AT)
    return entries(store.deployment(deployment), store.plans(deployment), came)


def entries(deployment: Deployment, plans: Sequence[SavedPlan], events: Iterable[Event]) -> tuple[PlanEntry, ...]:
    """Each plan once, the newest first. `events` are the deployment's, oldest first."""
    came = {str(event.detail.get("plan_id")): event for event in events if event.kind == IN_FORCE}
    return tuple(
        PlanEntry(
            plan.plan_id,
            plan.created_at,
            plan.document,
            _state(deployment) if plan.plan_id == deployment.plan_id else "",
            came[plan.plan_id].at if plan.plan_id in came else None,
            str(came[plan.plan_id].detail.get("before") or "") if plan.plan_id in came else "",
        )
        for plan in plans
    )


def _state(deployment: Deployment) -> str:
    return "starting" if deployment.state is DeploymentState.STARTING else "in force"
