"""`thunderctl events` and `thunderctl history`: what happened, and the plans that ran."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from thunderctl.cli import output
from thunderctl.cli.options import JsonOption


def events(
    context: typer.Context,
    limit: Annotated[int, typer.Option(help="How many, counted from the latest.", min=1)] = 50,
    as_json: JsonOption = False,
) -> None:
    """Show what happened to the deployment, oldest first.

    Example: thunderctl events --limit 20
    """
    from thunderctl.store.store import Store

    with Store() as store:
        found = store.events(context.obj, limit=limit)
    if as_json:
        rows = [{"at": _rfc3339(e.at), "kind": e.kind, "message": e.message, "detail": dict(e.detail)} for e in found]
        output.print_json({"schema": "thunder.events/v1", "events": rows})
        return
    shown = ((_rfc3339(event.at), event.kind, event.message) for event in found)
    output.show(output.table("Events", ("at", "kind", "what"), shown))


def history(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the deployment's plans, newest first; `thunderctl up PLAN_ID` goes back to one.

    Example: thunderctl history
    """
    from planner.document import plan_from_json
    from thunderctl.store.store import Store

    with Store() as store:
        in_force = store.deployment(context.obj).plan_id
        saved = store.plans(context.obj)
    if as_json:
        entries = [
            {"plan_id": p.plan_id, "created_at": _rfc3339(p.created_at), "in_force": p.plan_id == in_force}
            for p in saved
        ]
        output.print_json({"schema": "thunder.history/v1", "plans": entries})
        return
    plans = [(entry, plan_from_json(entry.document)) for entry in saved]
    rows = [
        (
            entry.plan_id,
            _rfc3339(entry.created_at),
            plan.llm.name,
            ", ".join(f"{replica.id} {replica.phase}" for replica in plan.replicas),
            f"{plan.cost_usd_per_hour:.2f}",
            "in force" if entry.plan_id == in_force else "",
        )
        for entry, plan in plans
    ]
    output.show(output.table("Plans", ("plan", "made at", "model", "replicas", "$/h", ""), rows, right=("$/h",)))


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
