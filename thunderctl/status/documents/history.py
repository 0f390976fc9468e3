"""`thunder.history/v1`: the plans that a deployment had, newest first."""

from collections.abc import Iterable
from typing import Any

from thunderctl.history import PlanEntry
from thunderctl.status.documents.events import rfc3339

HISTORY_SCHEMA = "thunder.history/v1"


def history_document(plans: Iterable[PlanEntry]) -> dict[str, Any]:
    return {"schema": HISTORY_SCHEMA, "plans": [_entry(one) for one in plans]}


def _entry(one: PlanEntry) -> dict[str, Any]:
    return {
        "plan_id": one.plan_id,
        "created_at": rfc3339(one.created_at),
        "in_force": one.state == "in force",
        "state": one.state,
        "in_force_since": None if one.since is None else rfc3339(one.since),
        "after": one.before or None,
        "amends": one.amends or None,
        "model": one.figure("model", "name"),
        "replicas": [{"id": replica["id"], "phase": replica["phase"]} for replica in one.document["replicas"]],
        "cost_usd_per_hour": one.document.get("cost_usd_per_hour"),
        "budget_usd_per_hour": one.document.get("budget_usd_per_hour"),
        "goodput_rps": one.figure("predicted", "goodput_rps"),
        "slo_attainment": one.figure("predicted", "slo_attainment"),
    }
