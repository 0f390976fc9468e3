"""`thunderctl up`: rent, prepare and start what a plan says, and serve it."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.errors import ThunderError
from thunderctl.cli import output
from thunderctl.cli.options import JsonOption, SpecOption, YesOption, confirm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.deployment import Plan
    from planner.reconcile import Step
    from thunderctl.apply import StepResult
    from thunderctl.spec import Spec
    from thunderctl.world import World

APPLY_SCHEMA = "thunder.apply/v1"


def up(
    context: typer.Context,
    plan: Annotated[str | None, typer.Argument(help="A plan's file, or the id of an earlier one.")] = None,
    yes: YesOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the steps and do nothing.")] = False,
    max_hours: Annotated[
        float | None, typer.Option(help="Recorded as the end of every lease (not enforced yet).", min=0.01)
    ] = None,
    spec: SpecOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the plan so: rent, prepare, start, route. Run again it resumes, or does nothing.

    Without PLAN it goes on with the deployment's own plan, or makes one from the spec. It shows what it will cost and
    asks, unless --yes.

    Example: thunderctl up plan.json
    """
    from thunderctl.cli.plan_tables import plan_tables
    from thunderctl.cli.progress import step_lines
    from thunderctl.lifecycle import bring_up, check_host, check_money, steps_to
    from thunderctl.world import open_world

    with open_world(context.obj) as world, world.store.lock(world.name, "up"):
        wanted, world.written = wanted, written = choose_plan(world, plan, spec)
        check_host(world, wanted, written)
        check_money(world, wanted, written)
        steps = asyncio.run(steps_to(world, wanted, written))
        if dry_run or not steps:
            _show_outcome(world, [_planned(step) for step in steps], as_json=as_json)
            return
        if not as_json:
            output.show(*plan_tables(wanted))
            output.show(_steps_table(steps))
        confirm(f"Spend up to ${wanted.cost_usd_per_hour:.3f} an hour?", yes=yes)
        with step_lines() as (report, narrate):
            hours = max_hours or written.budget.max_hours
            results = asyncio.run(
                bring_up(world, wanted, written, steps, max_hours=hours, report=report, narrate=narrate)
            )
        failure = failure_of(results, hint_for(world))
        _show_outcome(world, [result_entry(result) for result in results], as_json=as_json, failure=failure)
        if failure is not None:
            raise ended_by(failure, as_json=as_json)


def choose_plan(world: "World", plan: str | None, path: Path | None) -> tuple["Plan", "Spec"]:
    """The plan to bring up and the spec it is brought up with."""
    from planner.document import plan_from_json
    from thunderctl.compose import read_plan
    from thunderctl.lifecycle import plan_in_force
    from thunderctl.planning import make_plan
    from thunderctl.spec import DEFAULT_PATH, load_spec, planning_changes

    current = plan_in_force(world)
    written = load_spec(path) if path or DEFAULT_PATH.exists() or current is None else world.spec()
    if plan is None and current is not None:
        changed = planning_changes(world.spec(), written)
        if not changed:
            return current, written
        output.narrate(f"The spec changed since the plan was made ({', '.join(changed)}): planning anew.")
    if plan is None:
        return make_plan(written), written
    if Path(plan).exists() or plan.endswith(".json"):
        return read_plan(Path(plan)), written
    return plan_from_json(world.store.plan(plan, world.name).document), written


def result_entry(result: "StepResult") -> dict[str, Any]:
    """A step as `thunder.apply/v1` has it."""
    error = result.error.message if result.error else None
    return {**_planned(result.step), "state": result.state, "seconds": round(result.seconds, 3), "error": error}


def failure_of(results: "Sequence[StepResult]", hint: str) -> ThunderError | None:
    """The first step's error, with what to do about what is half done; None where all went well."""
    failed = next((result.error for result in results if result.error), None)
    if failed is not None:
        failed.hint = " ".join(part for part in (failed.hint, hint) if part)
    return failed


def ended_by(failure: ThunderError, *, as_json: bool) -> Exception:
    """What ends the command: the error, or only its exit code where the JSON document already holds it."""
    return typer.Exit(failure.exit_code) if as_json else failure


def hint_for(world: "World") -> str:
    """What half-done machines cost meanwhile."""
    from provisioners.leases.ledger import usd_per_hour

    cost = usd_per_hour(world.store.leases(world.name))
    return f"Machines that cost ${cost:.3f} an hour stay: run `thunderctl up` again, or `thunderctl down`."


def apply_document(
    world: "World", steps: "Sequence[dict[str, Any]]", failure: ThunderError | None = None
) -> dict[str, Any]:
    """`thunder.apply/v1`; with `error` where a step failed."""
    from provisioners.leases.ledger import usd_per_hour

    rows = [row for row in world.store.leases(world.name) if row.state.may_cost]
    error = {"error": output.error_entry(failure)} if failure else {}
    return {
        **error,
        "schema": APPLY_SCHEMA,
        "deployment": world.name,
        "steps": list(steps),
        "instances": [{"id": row.instance, "lease_id": row.lease_id, "state": row.state} for row in rows],
        "cost_usd_per_hour": usd_per_hour(rows),
        "endpoint": world.router.endpoint,
    }


def _planned(step: "Step") -> dict[str, Any]:
    return {"what": step.what, "id": step.id, "detail": step.detail, "state": "planned", "seconds": 0, "error": None}


def _steps_table(steps: "Sequence[Step]") -> Any:
    return output.table("Steps", ("step", "of", "detail"), ((step.what, step.id, step.detail) for step in steps))


def _show_outcome(
    world: "World", entries: "list[dict[str, Any]]", *, as_json: bool, failure: ThunderError | None = None
) -> None:
    document = apply_document(world, entries, failure)
    if as_json:
        output.print_json(document)
    elif not entries:
        output.narrate(f"Nothing to do: {world.name} runs as planned. Endpoint: {document['endpoint'] or 'none'}")
    elif all(entry["state"] == "planned" for entry in entries):
        rows = ((entry["what"], entry["id"], entry["detail"]) for entry in entries)
        output.show(output.table("Steps (dry run: nothing was done)", ("step", "of", "detail"), rows))
    elif document["endpoint"] and failure is None:
        output.narrate(f"Serving at {document['endpoint']}, ${document['cost_usd_per_hour']:.3f} an hour.")
