"""`thunderctl history`: the plans that a deployment had."""

from typing import TYPE_CHECKING

import typer

from thunderctl.cli import output
from thunderctl.cli.options import JsonOption
from thunderctl.status.documents.events import rfc3339

if TYPE_CHECKING:
    from thunderctl.history import PlanEntry

NONE = "-"
COLUMNS = ("plan", "made at", "in force since", "after", "replicas", "requests/s", "$/h", "")


def history(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the deployment's plans, newest first: their goodput and cost, when each came into force, and after which.

    `thunderctl up PLAN_ID` goes back to one: it shows what that changes and costs, and asks.

    Example: thunderctl history
    """
    from thunderctl.cli import elsewhere as there
    from thunderctl.history import history_of
    from thunderctl.status.documents.history import history_document
    from thunderctl.store.store import Store

    if (api := there.controller()) is not None:
        there.show_history(api, as_json=as_json)
        return
    with Store() as store:
        found = history_of(store, context.obj)
    if as_json:
        output.print_json(history_document(found))
    elif found:
        models = ", ".join(dict.fromkeys(str(one.figure("model", "name")) for one in found))
        output.show(output.table(f"Plans for {models}", COLUMNS, map(_row, found), right=("requests/s", "$/h")))
    else:
        output.narrate(
            "There are no plans yet. Make one: thunderctl plan --out plan.json, then thunderctl up plan.json"
        )


def _row(one: "PlanEntry") -> tuple[str, ...]:
    return (
        one.plan_id,
        _minute(one.created_at),
        NONE if one.since is None else _minute(one.since),
        one.before or NONE,
        one.phases,
        _number(one.figure("predicted", "goodput_rps")),
        _number(one.document.get("cost_usd_per_hour")),
        ", ".join(filter(None, (one.state, "machines replaced" if one.amends else ""))),
    )


def _minute(seconds: float) -> str:
    """Without seconds, and in one piece: a narrow table wraps what has blanks."""
    return f"{rfc3339(seconds)[:16]}Z"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"
